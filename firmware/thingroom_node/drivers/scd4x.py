"""Sensirion SCD40, SCD41: carbon dioxide, temperature, humidity (data sheet 1.4). I2C 0x62. Profile scd4x.

It measures by itself every 5 s, with a lamp that needs 205 mA for an instant; every 30 s in its low-power mode.
"""

from thingroom_node.drivers.i2c_part import I2cPart
from thingroom_node.drivers.sensirion import command, words
from thingroom_node.drivers.sensor import SensorError, measured, rounded

ADDRESSES = (0x62,)
_START, _START_LOW_POWER, _STOP = 0x21B1, 0x21AC, 0x3F86
_READ, _IS_READY, _SERIAL = 0xEC05, 0xE4B8, 0x3682
_ALTITUDE, _SELF_CALIBRATION = 0x2427, 0x2416
_STOP_MS, _EXECUTE_MS = 500, 1
_POLL_MS = 500


class Scd4x:
    """`altitude` in metres (0 to 3000). `self_calibration`: it takes the lowest of a week for fresh air, 400 ppm."""

    def __init__(self, i2c, address=ADDRESSES[0], altitude=0, self_calibration=True, low_power=False):
        self._part = I2cPart(i2c, address, "SCD4x")
        self._altitude = altitude
        self._calibrates_itself = self_calibration
        self._start = _START_LOW_POWER if low_power else _START
        self._polls = 70 if low_power else 14

    def probe(self):
        """Find it, and let it measure from now on: it has to stop first, or it takes no other command."""
        part = self._part
        part.forget()
        command(part, _STOP)
        yield _STOP_MS
        command(part, _SERIAL)
        yield _EXECUTE_MS
        if words(part, 3) == [0, 0, 0]:
            raise SensorError("wrong_part", "what answers at 0x{:02x} is no SCD4x".format(part.address))
        command(part, _ALTITUDE, self._altitude)
        yield _EXECUTE_MS
        command(part, _SELF_CALIBRATION, 1 if self._calibrates_itself else 0)
        yield _EXECUTE_MS
        command(part, self._start)

    def measure(self):
        """Carbon dioxide, temperature, humidity: of the measurement that is or becomes ready."""
        part = self._part
        yield from self._until_ready()
        command(part, _READ)
        yield _EXECUTE_MS
        co2, temperature, humidity = words(part, 3)
        return [
            measured("co2", "ppm", co2, 0, 1, 40000),
            measured("temperature", "Cel", rounded(17500 * temperature, 65535) - 4500, -2, -4500, 13000),
            measured("humidity", "%RH", rounded(10000 * humidity, 65535), -2, 0, 10000),
        ]

    def _until_ready(self):
        for _ in range(self._polls):
            command(self._part, _IS_READY)
            yield _EXECUTE_MS
            if words(self._part, 1)[0] & 0x07FF:
                return
            yield _POLL_MS
        raise SensorError("not_ready", "the SCD4x does not finish measuring: was its power cut?")
