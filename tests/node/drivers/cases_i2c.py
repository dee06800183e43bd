"""LM75, TMP105, EMC1413, BH1750, DPS310, INA219, VL53L0X on a bus that behaves like theirs."""

from tests.node.drivers.buses import ENODEV, Clock, I2c, Registers, Words, failure, run, told

from thingroom_node.drivers.bh1750 import Bh1750
from thingroom_node.drivers.dps310 import Dps310
from thingroom_node.drivers.emc1413 import Emc1413
from thingroom_node.drivers.ina219 import Ina219
from thingroom_node.drivers.lm75 import Lm75, Tmp105
from thingroom_node.drivers.vl53l0x import _TUNING, Vl53l0x, reference_diodes
from thingroom_wire.cbor import Decimal

# TMP105 data sheet, table 5; LM75 data sheet, table 10 (9 bits).
TMP105_TABLE = (
    (0x7FF0, "127.9375"),
    (0x6400, "100.0000"),
    (0x5000, "80.0000"),
    (0x4B00, "75.0000"),
    (0x3200, "50.0000"),
    (0x1900, "25.0000"),
    (0x0040, "0.2500"),
    (0x0000, "0.0000"),
    (0xFFC0, "-0.2500"),
    (0xE700, "-25.0000"),
    (0xC900, "-55.0000"),
)
LM75_TABLE = ((0x7D00, "125.0"), (0x1900, "25.0"), (0x0080, "0.5"), (0xFF80, "-0.5"), (0xC900, "-55.0"))


def case_the_tables_of_tmp105_and_lm75():
    for part, configuration, table in ((Tmp105, 0x60, TMP105_TABLE), (Lm75, 0x00, LM75_TABLE)):
        chip = Words({0: 0, 1: 0})
        clock = Clock()
        sensor = part(I2c({0x48: chip}))
        run(sensor.probe(), clock)
        assert chip.words[1] == configuration and clock.now >= 300
        for word, expected in table:
            chip.words[0] = word
            assert told(run(sensor.measure(), clock)) == {"temperature": expected + " Cel"}
    # Bits below the ninth are noise in an LM75.
    chip.words[0] = 0x197F
    assert told(run(sensor.measure(), clock)) == {"temperature": "25.0 Cel"}


def case_emc1413_has_three_temperatures():
    chip = Registers(
        [(0xFD, b"\x21\x5d\x04"), (0x00, b"\x19\x30"), (0x29, b"\x20"), (0x10, b"\xe0"), (0x23, b"\x12\x60")]
    )
    clock = Clock()
    sensor = Emc1413(I2c({0x4C: chip}))
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {
        "temperature": "25.125 Cel",
        "temperature_2": "48.875 Cel",
        "temperature_3": "18.375 Cel",
    }
    chip.memory[0x1B] = 0x04
    assert sorted(told(run(sensor.measure(), clock))) == ["temperature", "temperature_2"]
    chip.memory[0x00] = 0x80
    assert failure(sensor.measure(), clock)[0] == "implausible"
    chip.memory[0xFD] = 0x25
    assert "it is a EMC1414" in failure(sensor.probe(), clock)[1]


class Bh1750Chip:
    """One-time high-resolution: 120 ms as a rule, in proportion to the measuring time; off again afterwards."""

    def __init__(self, clock, lux):
        self._clock = clock
        self._lux = lux
        self._time = 69
        self._is_on = False
        self._ready = None

    def write(self, data):
        (command,) = data
        if command == 0x01:
            self._is_on = True
        elif command == 0x20:
            assert self._is_on
            counts = min(65535, self._lux * 12 * self._time // 690)
            self._ready = (self._clock.now + 180 * self._time // 69, counts)
            self._is_on = False
        elif command >> 5 == 2:
            self._time = (command & 7) << 5 | self._time & 0x1F
        elif command >> 5 == 3:
            self._time = self._time & 0xE0 | command & 0x1F
        else:
            raise OSError(ENODEV)

    def read(self, count):
        if self._ready is None or self._clock.now < self._ready[0]:
            return b"\x00\x00"
        return bytes((self._ready[1] >> 8, self._ready[1] & 0xFF))


def case_bh1750_from_dark_to_the_sun():
    # The data sheet's example: 0x8390 is 28067 lx.
    for lux, expected in (
        (0, "0.0 lx"),
        (1, "0.8 lx"),
        (432, "431.7 lx"),
        (28067, "28066.7 lx"),
        (100000, "99999.9 lx"),
    ):
        clock = Clock()
        sensor = Bh1750(I2c({0x23: Bh1750Chip(clock, lux)}))
        run(sensor.probe(), clock)
        assert told(run(sensor.measure(), clock)) == {"illuminance": expected}, lux
        assert clock.now >= 181


# What QEMU's model starts with, which is what somebody read out of a real part.
DPS310_COEFFICIENTS = b"\x0e\x1e\xdd\x13\xca\x5f\x21\x52\xf9\xc6\x04\xd1\xdb\x47\x00\x5b\xfb\x3a"
DPS310_RAW_P, DPS310_RAW_T = -118802, 158118


class Dps310Chip(Registers):
    """Its raw pressure is in proportion to the scale that goes with the oversampling."""

    SCALES = (524288, 1572864, 3670016, 7864320, 253952, 516096, 1040384, 2088960)

    def __init__(self, clock, identity=0x10, coefficients=DPS310_COEFFICIENTS):
        super().__init__([(0x0D, bytes((identity,))), (0x10, coefficients), (0x28, b"\x80"), (0x08, b"\xc0")])
        self._clock = clock
        self._reset_at = -1000
        self._done_at = {}

    def set(self, register, value):
        now = self._clock.now
        if register == 0x0C:
            assert value == 0x89
            self._reset_at = now
        elif register == 0x08:
            mode = value & 7
            assert mode in (1, 2)
            log = self.memory[0x06] & 7
            assert log <= 3 or self.memory[0x09] & 0x04, "P_SHIFT is needed above 8 times"
            self._done_at[mode] = now + (4 if mode == 2 else (4, 6, 9, 15, 28, 54, 105, 207)[log])
        else:
            assert register in (0x06, 0x07, 0x09) and (register != 0x07 or value & 0x80), "the coefficients' sensor"
            super().set(register, value)

    def get(self, register):
        now = self._clock.now
        if register == 0x08:
            ready = 0xC0 if now >= self._reset_at + 40 else 0
            return ready | sum([bit for mode, bit in ((1, 0x10), (2, 0x20)) if now >= self._done_at.get(mode, now + 1)])
        if register < 6:
            mode = 1 if register < 3 else 2
            assert now >= self._done_at[mode]
            raw = DPS310_RAW_T if mode == 2 else DPS310_RAW_P * self.SCALES[self.memory[0x06] & 7] // 524288
            return (raw & 0xFFFFFF) >> (16 - 8 * (register % 3)) & 0xFF
        return super().get(register)


# 24.738 °C and 92946.31 Pa by section 4.9 in floating point.
def case_dps310_measures_the_same_with_each_oversampling():
    for oversampling in (1, 2, 4, 8, 16, 32, 64, 128):
        clock = Clock()
        sensor = Dps310(I2c({0x77: Dps310Chip(clock)}), oversampling=oversampling)
        run(sensor.probe(), clock)
        pressure, temperature = run(sensor.measure(), clock)
        assert temperature.value == Decimal(2474, -2)
        assert pressure.value.exponent == -1 and abs(pressure.value.mantissa - 929_463) <= 3, (oversampling, pressure)


def case_dps310_too_early_absent_or_dead():
    clock = Clock()
    sensor = Dps310(I2c({0x77: Dps310Chip(clock)}))
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock, speed=0)[0] == "not_ready"
    assert failure(Dps310(I2c({0x77: Dps310Chip(clock, identity=0x58)})).probe(), clock)[0] == "wrong_part"
    dead = I2c({0x77: Dps310Chip(clock, identity=0xFF, coefficients=b"\xff" * 18)})
    assert failure(Dps310(dead).probe(), clock)[0] == "damaged"


class Ina219Chip(Words):
    """Measures once when the configuration is written. SBOS448G, table 8: 11.98 V, 20 mV at the shunt."""

    def __init__(self, clock, bus=11_980, shunt=2000):
        super().__init__({0: 0x399F})
        self._clock = clock
        self._bus = bus
        self._shunt = shunt
        self._ready_at = None

    def set(self, register, value):
        assert register == 0
        if value & 0x8000:
            self.words[0] = 0x399F
            return
        assert value & 7 == 3, "shunt and bus, triggered"
        self.words[0] = value
        self._ready_at = self._clock.now + 9

    def get(self, register):
        if register == 0:
            return self.words[0]
        is_ready = self._ready_at is not None and self._clock.now >= self._ready_at
        if register == 2:
            return self._bus // 4 << 3 | (2 if is_ready else 0)
        return self._shunt & 0xFFFF if is_ready else 0


def case_ina219_the_example_of_the_data_sheet():
    clock = Clock()
    sensor = Ina219(I2c({0x40: Ina219Chip(clock)}), shunt=2)
    run(sensor.probe(), clock)
    # 11.98 V, 10 A, 119.8 W.
    assert told(run(sensor.measure(), clock)) == {"voltage": "11.980 V", "current": "10.0000 A", "power": "119.800 W"}
    assert failure(sensor.measure(), clock, speed=0)[0] == "not_ready"


def case_ina219_the_other_way_and_too_much():
    clock = Clock()
    chip = Ina219Chip(clock, bus=5000, shunt=-1234)
    sensor = Ina219(I2c({0x40: chip}))
    run(sensor.probe(), clock)
    assert told(run(sensor.measure(), clock)) == {"voltage": "5.000 V", "current": "-0.1234 A", "power": "-0.617 W"}
    chip._shunt = 0x7FFF
    assert failure(sensor.measure(), clock)[0] == "implausible"
    chip.words[0], chip._shunt = 0, 0
    chip.set = lambda register, value: None
    assert failure(sensor.probe(), clock)[0] == "wrong_part"


class Vl53l0xChip(Registers):
    """Two pages; page 1 has what is set up and read out of its memory once."""

    def __init__(self, clock, distance_mm, status=11):
        super().__init__([(0xC0, b"\xee\xaa\x10"), (0xB0, b"\xff\xff\xff\xff\xff\xff"), (0x84, b"\x11")])
        self._clock = clock
        self._page = bytearray(256)
        self._page[0x91] = 0x3C
        self._page[0x92] = 0x85
        self._answer = (distance_mm, status)
        self._ready_at = None
        self.calibrations = []
        self.tuned = bytearray()

    def set(self, register, value):
        now = self._clock.now
        self.tuned += bytes((register, value))
        if register == 0xFF or not self.memory[0xFF]:
            super().set(register, value)
            if register == 0x00 and value & 1:
                sequence = self.memory[0x01]
                if sequence != 0xE8:
                    self.calibrations.append((sequence, value))
                elif self._page[0x91] != 0x3C:
                    return
                self._ready_at = now + (33 if sequence == 0xE8 else 8)
            elif register == 0x0B:
                self._ready_at = None
        else:
            self._page[register] = value
            if register == 0x83:
                self._strobed_at = now

    def get(self, register):
        if self.memory[0xFF]:
            if register == 0x83 and self._page[0x94] == 0x6B and not self._page[0x83]:
                return 1 if self._clock.now >= self._strobed_at + 2 else 0
            return self._page[register]
        if register == 0x13:
            return 4 if self._ready_at is not None and self._clock.now >= self._ready_at else 0
        if register == 0x14:
            return self._answer[1] << 3
        if register in (0x1E, 0x1F):
            return self._answer[0] >> (8 if register == 0x1E else 0) & 0xFF
        return super().get(register)


def case_vl53l0x_is_set_up_and_measures():
    clock = Clock()
    chip = Vl53l0xChip(clock, 1234)
    sensor = Vl53l0x(I2c({0x29: chip}))
    run(sensor.probe(), clock)
    assert chip.calibrations == [(0x01, 0x41), (0x02, 0x01)]
    assert chip.tuned.find(_TUNING) > 0 and len(_TUNING) == 2 * 80
    assert chip.memory[0x01] == 0xE8 and chip.memory[0x89] & 1 and not chip.memory[0x84] & 0x10
    # Five diodes with an aperture: from the twelfth on.
    assert chip.memory[0xB0:0xB6] == b"\x00\xf0\x01\x00\x00\x00"
    started = clock.now
    assert told(run(sensor.measure(), clock)) == {"distance": "1.234 m"}
    assert clock.now - started < 60


def case_vl53l0x_sees_nothing_or_fails():
    for distance, status in ((8190, 11), (8191, 4), (20, 10)):
        clock = Clock()
        sensor = Vl53l0x(I2c({0x29: Vl53l0xChip(clock, distance, status)}))
        run(sensor.probe(), clock)
        assert run(sensor.measure(), clock) == []
    clock = Clock()
    sensor = Vl53l0x(I2c({0x29: Vl53l0xChip(clock, 100, 2)}))
    run(sensor.probe(), clock)
    assert failure(sensor.measure(), clock)[0] == "damaged"
    assert failure(sensor.measure(), clock, speed=0)[0] == "not_ready"


def case_vl53l0x_reference_diodes():
    assert reference_diodes(b"\x0f\xf0\xff\xff\xff\xff", 6, False) == b"\x0f\x30\x00\x00\x00\x00"
    assert reference_diodes(b"\xff" * 6, 0, True) == bytes(6)
    assert reference_diodes(bytes(6), 30, False) == bytes(6)
    assert reference_diodes(b"\xff" * 6, 127, False) == b"\xff" * 6
