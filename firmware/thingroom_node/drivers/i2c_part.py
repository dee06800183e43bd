"""A part on an I2C bus: registers and commands, with every failure as a SensorError that says what to look at.

`i2c` is like machine.I2C: readfrom_mem_into, writeto_mem, readfrom_into, writeto, scan. May import sensor.
"""

from thingroom_node.drivers.sensor import SensorError


class I2cPart:
    """The part called `name` at the 7-bit `address` of the bus."""

    def __init__(self, i2c, address, name):
        self._i2c = i2c
        self.address = address
        self.name = name
        self._has_answered = False

    def forget(self):
        """It may have been unplugged: a failure of the next transaction means that it is not there."""
        self._has_answered = False

    def read(self, register, length):
        """`length` bytes from the 8-bit `register` on."""
        buffer = bytearray(length)
        try:
            self._i2c.readfrom_mem_into(self.address, register, buffer)
        except OSError:
            raise self._failure()
        self._has_answered = True
        return buffer

    def read_byte(self, register):
        """One register as a number."""
        return self.read(register, 1)[0]

    def write(self, register, *values):
        """Bytes into the 8-bit `register` and those after it."""
        try:
            self._i2c.writeto_mem(self.address, register, bytes(values))
        except OSError:
            raise self._failure()
        self._has_answered = True

    def send(self, data):
        """A command: `data` as it is."""
        try:
            self._i2c.writeto(self.address, data)
        except OSError:
            raise self._failure()
        self._has_answered = True

    def receive(self, length):
        """`length` bytes without naming a register."""
        buffer = bytearray(length)
        try:
            self._i2c.readfrom_into(self.address, buffer)
        except OSError:
            raise self._failure()
        self._has_answered = True
        return buffer

    def identify(self, register, expected, others=None):
        """SensorError unless `register` holds one of `expected`. `others`: what else may answer here, by its number."""
        found = self.read_byte(register)
        if found in expected:
            return
        other = (others or {}).get(found)
        raise SensorError(
            "wrong_part",
            "what answers at 0x{:02x} is no {}: {}".format(
                self.address, self.name, "it is a " + other if other else "it calls itself 0x{:02x}".format(found)
            ),
        )

    def _failure(self):
        if self._has_answered:
            return SensorError("no_answer", "the {} at 0x{:02x} does not answer".format(self.name, self.address))
        try:
            found = self._i2c.scan()
        except OSError:
            found = []
        others = ", ".join(["0x{:02x}".format(address) for address in found])
        return SensorError(
            "absent",
            "no {} at 0x{:02x}: check wiring; found {}".format(self.name, self.address, others or "nothing else"),
        )
