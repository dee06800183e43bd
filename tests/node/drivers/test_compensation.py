"""Whole-number compensation against the same formulas in floating point, as the data sheets print them beside it."""

import math

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from tests.node.drivers.cases_i2c import DPS310_COEFFICIENTS

from thingroom_node.drivers.bme280 import Bme280
from thingroom_node.drivers.bosch import Bosch
from thingroom_node.drivers.dps310 import _SCALES, Dps310
from thingroom_node.drivers.vl53l0x import _FINAL_TIMEOUT_MACRO

T = (27504, 26435, -1000)
P = (36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
H = (75, 361, 0, 340, 50, 30)


def _t_fine(raw: int) -> float:
    one = (raw / 16384 - T[0] / 1024) * T[1]
    two = (raw / 131072 - T[0] / 8192) ** 2 * T[2]
    return one + two


def _pressure(raw: int, t_fine: float) -> float:
    """BST-BMP280-DS001, section 8.1."""
    one = t_fine / 2 - 64000
    two = one * one * P[5] / 32768 + one * P[4] * 2
    two = two / 4 + P[3] * 65536
    one = (P[2] * one * one / 524288 + P[1] * one) / 524288
    one = (1 + one / 32768) * P[0]
    pressure = (1048576 - raw - two / 4096) * 6250 / one
    return pressure + (P[8] * pressure * pressure / 2147483648 + pressure * P[7] / 32768 + P[6]) / 16


def _humidity(raw: int, t_fine: float) -> float:
    """BST-BME280-DS002, appendix 8.1."""
    h1, h2, h3, h4, h5, h6 = H
    value = t_fine - 76800
    scale = h2 / 65536 * (1 + h6 / 67108864 * value * (1 + h3 / 67108864 * value))
    value = (raw - (h4 * 64 + h5 / 16384 * value)) * scale
    value *= 1 - h1 * value / 524288
    return min(max(value, 0), 100)


def test_the_reference_gives_what_the_data_sheet_prints() -> None:
    assert abs(_t_fine(519888) / 5120 - 25.08) < 0.005
    assert abs(_pressure(415148, _t_fine(519888)) - 100653.27) < 0.01


@given(raw_t=st.integers(400_000, 650_000), raw_p=st.integers(250_000, 600_000), raw_h=st.integers(0, 65535))
@settings(max_examples=300, deadline=None)
def test_bosch(raw_t: int, raw_p: int, raw_h: int) -> None:
    bosch = Bosch(None, 0x76, "BMP280", (0x58,), 6, 1)
    bosch._t, bosch._p = T, P
    t_fine = bosch.t_fine(raw_t)
    assert abs(t_fine - _t_fine(raw_t)) < 26  # half a hundredth of a degree
    assume(-40 <= t_fine / 5120 <= 85)
    # As the fine temperature of the integers goes into both, the rest is what is left of rounding.
    assert abs(bosch.pressure(raw_p, t_fine) / 256 - _pressure(raw_p, t_fine)) < 0.2
    sensor = Bme280(None)
    sensor._h = H
    assert abs(sensor.humidity(raw_h, t_fine) / 1024 - _humidity(raw_h, t_fine)) < 0.05


@given(log=st.integers(0, 7), p=st.floats(-0.9, 0.9), t=st.floats(-0.9, 0.9))
@settings(max_examples=300, deadline=None)
def test_dps310(log: int, p: float, t: float) -> None:
    data = int.from_bytes(DPS310_COEFFICIENTS, "big")
    widths, values = (12, 12, 20, 20, 16, 16, 16, 16, 16), []
    left = 144
    for width in widths:
        left -= width
        number = data >> left & (1 << width) - 1
        values.append(number - (1 << width) if number >> width - 1 else number)
    c0, c1, c00, c10, c01, c11, c20, c21, c30 = values
    raw_p, raw_t = int(p * _SCALES[log]), int(t * _SCALES[0])
    p, t = raw_p / _SCALES[log], raw_t / _SCALES[0]
    expected = c00 + p * (c10 + p * (c20 + p * c30)) + t * c01 + t * p * (c11 + p * c21)
    sensor = Dps310(None, oversampling=1 << log)
    sensor._coefficients = tuple(values)
    tenths, hundredths = sensor.compensate(raw_p, raw_t)
    assert abs(tenths / 10 - expected) <= 0.06
    assert abs(hundredths / 100 - (c0 / 2 + c1 * t)) <= 0.006


def test_vl53l0x_final_timeout_keeps_the_budget() -> None:
    """How ST's interface comes to it: what is left of the budget of its default tuning (all checks on) for the rest."""

    def period_ns(clocks: int) -> int:
        return (2304 * clocks * 1655 + 500) // 1000

    def to_us(periods: int, clocks: int) -> int:
        return (periods * period_ns(clocks) + period_ns(clocks) // 2) // 1000

    check, pre, final = to_us(0x25 + 1, 14), to_us(0x96 + 1, 14), to_us(0xFE * 2 + 1 - (0x96 + 1), 10)
    budget = 1910 + 960 + (check + 590) + 2 * (check + 690) + (pre + 660) + (final + 550)
    left = budget - (1320 + 960 + 2 * (check + 690) + (pre + 660) + 550)
    periods = (left * 1000 + period_ns(10) // 2) // period_ns(10) + (0x96 + 1) - 1
    shift = max(0, math.ceil(math.log2((periods + 1) / 256)))
    assert (shift, periods >> shift) == _FINAL_TIMEOUT_MACRO
    assert 33_000 <= budget <= 34_500
