"""Aosong DHT22, AM2301, AM2302: temperature and humidity over one wire (AM2302 data sheet). Profile dht22."""

from thingroom_node.drivers.sensor import SensorError, measured

# What it tells is what it measured when it was last asked, and it must not be asked more often than every 2 s.
_BETWEEN_MS = 2000


class Dht22:
    """`readinto(buffer)` starts it and fills a bytearray of 5; OSError when it does not answer."""

    def __init__(self, readinto):
        self._readinto = readinto
        self._data = bytearray(5)

    def probe(self):
        """Find it, or say so."""
        self._ask()
        yield _BETWEEN_MS

    def measure(self):
        """Ask twice: the first answer is old."""
        self._ask()
        yield _BETWEEN_MS
        self._ask()
        data = self._data
        if (data[0] + data[1] + data[2] + data[3]) & 0xFF != data[4]:
            raise SensorError("checksum", "the DHT22 sent a wrong checksum: shorter wire, stronger pull-up?")
        # The sign is a bit of its own.
        temperature = (data[2] & 0x7F) << 8 | data[3]
        return [
            measured("temperature", "Cel", -temperature if data[2] & 0x80 else temperature, -1, -400, 1250),
            measured("humidity", "%RH", data[0] << 8 | data[1], -1, 0, 1000),
        ]

    def _ask(self):
        try:
            self._readinto(self._data)
        except OSError:
            raise SensorError("absent", "no DHT22 on this pin: check wiring, pull-up (4.7 to 10 kΩ), power")
