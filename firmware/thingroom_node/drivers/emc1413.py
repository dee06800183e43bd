"""Microchip EMC1413: the temperature of itself and of two diodes elsewhere. I2C 0x4C. Profile emc1413.

Data sheet DS20005274, register set in table 6-1. 0 to 127.875 °C in steps of 0.125 °C; it converts all the time.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensor import SensorError, measured

ADDRESSES = (0x4C, 0x5C, 0x6C, 0x1C, 0x3C)
_PRODUCT, _MANUFACTURER, _DIODE_FAULT = 0xFD, 0xFE, 0x1B
_EMC1413, _SMSC = 0x21, 0x5D
# Name, register of the whole degrees, of the eighths in its upper three bits, and the bit of its fault.
_CHANNELS = (
    ("temperature", 0x00, 0x29, 0x00),
    ("temperature_2", 0x01, 0x10, 0x02),
    ("temperature_3", 0x23, 0x24, 0x04),
)


class Emc1413:
    """`i2c` is like machine.I2C."""

    def __init__(self, i2c, address=ADDRESSES[0]):
        self._part = I2cPart(i2c, address, "EMC1413")

    def probe(self):
        """Find it."""
        self._part.forget()
        self._part.identify(_MANUFACTURER, (_SMSC,))
        self._part.identify(_PRODUCT, (_EMC1413,), {0x25: "EMC1414", 0x20: "EMC1412"})
        return
        yield

    def measure(self):
        """Its own temperature, and those of the diodes that are connected."""
        faults = self._part.read_byte(_DIODE_FAULT)
        records = []
        for name, whole, eighths, fault in _CHANNELS:
            if not faults & fault:
                # The whole degrees first: reading them holds the eighths.
                degrees = self._part.read_byte(whole)
                steps = degrees << 3 | self._part.read_byte(eighths) >> 5
                if degrees > 127:
                    raise SensorError("implausible", "the EMC1413 says more than 127 °C")
                records.append(measured(name, "Cel", steps * 125, -3, 0, 127_875))
        return records
        yield
