"""Infineon DPS310: air pressure and temperature (data sheet 1.2). I2C 0x77 or 0x76. Profile dps310.

Compensation: section 4.9, here in whole numbers. QEMU has a model of it, see docs/boards.md for where it differs.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import SensorError, measured, poll, rounded, signed

ADDRESSES = (0x77, 0x76)
_PRS, _TMP, _PRS_CFG, _TMP_CFG, _MEAS_CFG, _CFG, _RESET, _ID, _COEF, _COEF_SRCE = (
    0x00, 0x03, 0x06, 0x07, 0x08, 0x09, 0x0C, 0x0D, 0x10, 0x28,
)  # fmt: skip
_RESET_WORD = 0x89
_ALL_READY, _TMP_READY, _PRS_READY = 0xC0, 0x20, 0x10
_PRESSURE, _TEMPERATURE = 0x01, 0x02
_P_SHIFT = 0x04
# By the logarithm of the oversampling: scale factors (table 9), measurement times in ms (table 16, rounded up).
_SCALES = (524288, 1572864, 3670016, 7864320, 253952, 516096, 1040384, 2088960)
_TIMES = (4, 6, 9, 15, 28, 54, 105, 207)
_FRACTION = 28


class Dps310:
    """`oversampling` of the pressure: 1 to 128, a power of two; 16 makes 0.5 Pa of noise in 28 ms."""

    def __init__(self, i2c, address=ADDRESSES[0], oversampling=16):
        self._part = I2cPart(i2c, address, "DPS310")
        self._log = 0
        while 1 << self._log < oversampling and self._log < 7:
            self._log += 1
        self._coefficients = None

    def probe(self):
        """Find it, reset it, read its coefficients."""
        part = self._part
        part.forget()
        # 0xFF is what QEMU's model has there; that nothing drives the bus is noticed below.
        part.identify(_ID, (0x10, 0xFF))
        part.write(_RESET, _RESET_WORD)
        yield 40
        yield from poll(lambda: part.read_byte(_MEAS_CFG) & _ALL_READY == _ALL_READY, 5, 10, part.name)
        data = part.read(_COEF, 18)
        if data[2:6] in (bytes(4), b"\xff\xff\xff\xff"):
            raise SensorError("damaged", "the DPS310 has no coefficients: check wiring")
        self._coefficients = (
            signed(data[0] << 4 | data[1] >> 4, 12),
            signed((data[1] & 0x0F) << 8 | data[2], 12),
            signed(data[3] << 12 | data[4] << 4 | data[5] >> 4, 20),
            signed((data[5] & 0x0F) << 16 | data[6] << 8 | data[7], 20),
        ) + tuple([signed(data[place] << 8 | data[place + 1], 16) for place in range(8, 18, 2)])
        part.write(_PRS_CFG, self._log)
        # Temperature once, with the sensor that the coefficients were made for.
        part.write(_TMP_CFG, part.read_byte(_COEF_SRCE) & 0x80)
        part.write(_CFG, _P_SHIFT if self._log > 3 else 0)

    def measure(self):
        """Temperature first, which the pressure is compensated with."""
        temperature = yield from self._convert(_TEMPERATURE, _TMP_READY, _TIMES[0], _TMP)
        pressure = yield from self._convert(_PRESSURE, _PRS_READY, _TIMES[self._log], _PRS)
        pascals, celsius = self.compensate(pressure, temperature)
        return [
            measured("pressure", "Pa", pascals, -1, 300_000, 1_200_000),
            measured("temperature", "Cel", celsius, -2, -4000, 8500),
        ]

    def compensate(self, raw_pressure, raw_temperature):
        """(tenths of a pascal, hundredths of a degree) of the two raw numbers."""
        c0, c1, c00, c10, c01, c11, c20, c21, c30 = self._coefficients
        t = (raw_temperature << _FRACTION) // _SCALES[0]
        p = (raw_pressure << _FRACTION) // _SCALES[self._log]
        # c00 + p(c10 + p(c20 + p c30)) + t c01 + t p(c11 + p c21), with p and t as fractions of 2**28.
        inner = (c20 << _FRACTION) + p * c30
        inner = (c10 << _FRACTION) + (p * inner >> _FRACTION)
        total = (c00 << _FRACTION) + (p * inner >> _FRACTION) + t * c01
        inner = p * ((c11 << _FRACTION) + p * c21) >> _FRACTION
        total += t * inner >> _FRACTION
        celsius = (c0 << (_FRACTION - 1)) + c1 * t
        return rounded(total * 10, 1 << _FRACTION), rounded(celsius * 100, 1 << _FRACTION)

    def _convert(self, mode, ready, time_ms, register):
        part = self._part
        # The flags are read-only; QEMU's model stores what is written there.
        flags = part.read_byte(_MEAS_CFG) & 0xF8
        part.write(_MEAS_CFG, flags | mode)
        yield time_ms
        yield from poll(lambda: part.read_byte(_MEAS_CFG) & ready, 5, 20, part.name)
        data = part.read(register, 3)
        return signed(data[0] << 16 | data[1] << 8 | data[2], 24)
