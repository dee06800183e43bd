"""BMP280 and BME280, register by register. The figures are those of BST-BMP280-DS001, section 3.12."""

import struct

from tests.node.drivers.buses import Clock, I2c, Registers, failure, run, told

from thingroom_node.drivers.bme280 import Bme280
from thingroom_node.drivers.bmp280 import Bmp280

CALIBRATION = struct.pack("<HhhHhhhhhhhh", 27504, 26435, -1000, 36477, -10685, 3024, 2855, 140, -7, 15500, -14600, 6000)
ADC_T, ADC_P = 519888, 415148
# The same as the part sends them, pressure first.
MEASURED = bytes((0x65, 0x5A, 0xC0, 0x7E, 0xED, 0x00))
# Humidity calibration: H1 75, H2 361, H3 0, H4 340, H5 50, H6 30.
H1 = b"\x4b"
H2_TO_H6 = bytes((0x69, 0x01, 0x00, 340 >> 4, (340 & 0x0F) | (50 & 0x0F) << 4, 50 >> 4, 30))
NOT_MEASURED = b"\x80\x00\x00\x80\x00\x00\x80\x00"


class Chip(Registers):
    """Measures when it is told to, and tells nothing before it has."""

    def __init__(self, clock, identity, result, conversion_ms, calibration=CALIBRATION):
        super().__init__([(0x88, calibration), (0xA1, H1), (0xD0, bytes((identity,))), (0xE1, H2_TO_H6)])
        self._clock = clock
        self._result = result
        self._conversion_ms = conversion_ms
        self._reset_at = -1000
        self._ready_at = None
        self.memory[0xF7 : 0xF7 + 8] = NOT_MEASURED

    def set(self, register, value):
        if register == 0xE0:
            assert value == 0xB6
            self._reset_at = self._clock.now
            self._ready_at = None
            self.memory[0xF2] = self.memory[0xF4] = 0
            self.memory[0xF7 : 0xF7 + 8] = NOT_MEASURED
            return
        assert register in (0xF2, 0xF4, 0xF5), hex(register)
        super().set(register, value)
        if register == 0xF4:
            assert value & 3 == 1 and value >> 2 & 7 and value >> 5, "forced mode, both measured"
            self._ready_at = self._clock.now + self._conversion_ms
            self._measures_humidity = self.memory[0xF2] & 7

    def get(self, register):
        now = self._clock.now
        if register == 0xF3:
            busy = self._ready_at is not None and now < self._ready_at
            return (0x08 if busy else 0) | (0x01 if now < self._reset_at + 2 else 0)
        if 0x88 <= register < 0xF0 and register != 0xD0:
            assert now >= self._reset_at + 2, "calibration is still being copied"
        if register >= 0xF7 and self._ready_at is not None and now >= self._ready_at:
            humidity = self._result[6:] if self._measures_humidity else b"\x80\x00"
            return (self._result[:6] + humidity)[register - 0xF7]
        return super().get(register)


def bmp280(identity=0x58, result=MEASURED, **more):
    clock = Clock()
    return clock, Bmp280(I2c({0x76: Chip(clock, identity, result, 13, **more)}))


def bme280(humidity, identity=0x60):
    clock = Clock()
    result = MEASURED + bytes((humidity >> 8, humidity & 0xFF))
    return clock, Bme280(I2c({0x76: Chip(clock, identity, result, 16)}))


def case_the_worked_example_of_the_data_sheet():
    clock, sensor = bmp280()
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"temperature": "25.08 Cel", "pressure": "100653.3 Pa"}
    assert sensor._bosch.t_fine(ADC_T) == 128422
    # 100653.27 Pa in 1/256; the whole-number formula ends 0.02 Pa below that.
    assert abs(sensor._bosch.pressure(ADC_P, 128422) - 25767237) <= 4


def case_all_three_of_a_bme280():
    clock, sensor = bme280(30000)
    run(sensor.probe(), clock)
    records = told(run(sensor.measure(), clock))
    assert records == {"temperature": "25.08 Cel", "humidity": "45.25 %RH", "pressure": "100653.3 Pa"}, records
    assert [record.name for record in run(sensor.measure(), clock)] == ["temperature", "humidity", "pressure"]


def case_humidity_stays_between_0_and_100():
    for raw_humidity, expected in ((0, "0.00 %RH"), (65535, "100.00 %RH")):
        clock, sensor = bme280(raw_humidity)
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock))["humidity"] == expected


def case_the_other_part_is_named():
    clock, sensor = bme280(30000, identity=0x58)
    assert failure(sensor.probe(), clock) == ("wrong_part", "what answers at 0x76 is no BME280: it is a BMP280")
    clock, sensor = bmp280(identity=0x60)
    assert failure(sensor.probe(), clock)[1] == "what answers at 0x76 is no BMP280: it is a BME280"
    clock, sensor = bmp280(identity=0x33)
    assert failure(sensor.probe(), clock)[1] == "what answers at 0x76 is no BMP280: it calls itself 0x33"


def case_another_address_is_shown():
    clock = Clock()
    bus = I2c({0x77: Chip(clock, 0x60, bytes(8), 16)})
    expected = ("absent", "no BME280 at 0x76: check wiring; found 0x77")
    assert failure(Bme280(bus).probe(), clock) == expected
    assert failure(Bme280(I2c({})).probe(), clock)[1] == "no BME280 at 0x76: check wiring; found nothing else"
    run(Bme280(bus, address=0x77).probe(), clock)


def case_a_part_that_loses_its_power_or_is_pulled_out():
    clock, sensor = bmp280()
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock, speed=0)[0] == "not_ready"
    clock, sensor = bmp280(result=NOT_MEASURED[:6])
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock)[0] == "not_ready"
    clock, sensor = bmp280()
    run(sensor.probe(), clock)
    chips = sensor._bosch.part._i2c.chips
    chip = chips.pop(0x76)
    assert failure(sensor.measure(), clock) == ("no_answer", "the BMP280 at 0x76 does not answer")
    assert failure(sensor.probe(), clock)[0] == "absent"
    chips[0x76] = chip
    run(sensor.probe(), clock)
    assert run(sensor.measure(), clock)


def case_a_broken_calibration():
    for broken in (bytes(24), b"\xff" * 24):
        clock, sensor = bmp280(calibration=broken)
        assert failure(sensor.probe(), clock)[0] == "damaged"
    clock, sensor = bmp280(calibration=struct.pack("<HhhHhhhhhhhh", 27504, 26435, -1000, 1, -32768, *[0] * 7))
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock)[0] in ("damaged", "implausible")
