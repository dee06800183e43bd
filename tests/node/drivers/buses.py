"""Buses without wires, strict like real ones. Runs on CPython and on MicroPython.

Nothing waits: `run` lets a driver's pauses pass on a Clock that the chips look at, too.
"""

from thingroom_node.drivers.sensor import SensorError
from thingroom_wire.cbor import Decimal

ENODEV = 19
ETIMEDOUT = 110


class Clock:
    """Milliseconds that pass only when somebody waits."""

    def __init__(self):
        self.now = 0

    def uptime(self):
        return self.now


def run(steps, clock, speed=1):
    """Run a driver's generator to its end; returns what it returns. `speed` 0: no time passes while it waits."""
    while True:
        try:
            pause = next(steps)
        except StopIteration as stop:
            return stop.value
        assert isinstance(pause, int) and pause >= 0, pause
        clock.now += pause * speed


def failure(steps, clock, speed=1):
    """The reason and sentence of the SensorError that the driver's generator has to end with."""
    try:
        records = run(steps, clock, speed)
    except SensorError as error:
        return error.reason, str(error)
    raise AssertionError(f"it told {records}")


def told(records):
    """{name: "21.50 Cel"} of SenML records."""
    found = {}
    for record in records:
        assert record.time == 0 and record.name not in found
        unit = " " + record.unit if record.unit else ""
        found[record.name] = as_text(record.value) + unit
    return found


def as_text(value):
    """An exact decimal as text."""
    if not isinstance(value, Decimal):
        return str(value)
    digits, places = str(abs(value.mantissa)), -value.exponent
    while len(digits) <= places:
        digits = "0" + digits
    return ("-" if value.mantissa < 0 else "") + digits[:-places] + "." + digits[-places:]


class I2c:
    """Like machine.I2C. `chips` by address; each has write(bytes) and read(count), both may raise OSError."""

    def __init__(self, chips):
        self.chips = chips
        self.log = []

    def scan(self):
        return sorted(self.chips)

    def writeto(self, address, data):
        self._chip(address).write(bytes(data))
        self.log.append((address, bytes(data)))

    def writeto_mem(self, address, register, data):
        self.writeto(address, bytes((register,)) + bytes(data))

    def readfrom_into(self, address, buffer):
        data = self._chip(address).read(len(buffer))
        assert len(data) == len(buffer)
        buffer[:] = data

    def readfrom_mem_into(self, address, register, buffer):
        self._chip(address).write(bytes((register,)))
        self.readfrom_into(address, buffer)

    def _chip(self, address):
        if address not in self.chips:
            raise OSError(ENODEV)
        return self.chips[address]


class Registers:
    """A chip with 8-bit registers and a pointer that goes on by itself. Subclasses override `set` and `get`."""

    def __init__(self, contents):
        self.memory = bytearray(256)
        for register, data in contents:
            self.memory[register : register + len(data)] = data
        self._pointer = 0

    def write(self, data):
        self._pointer = data[0]
        for value in data[1:]:
            self.set(self._pointer, value)
            self._pointer = (self._pointer + 1) & 0xFF

    def read(self, count):
        data = bytearray()
        for _ in range(count):
            data.append(self.get(self._pointer))
            self._pointer = (self._pointer + 1) & 0xFF
        return bytes(data)

    def set(self, register, value):
        self.memory[register] = value

    def get(self, register):
        return self.memory[register]


class Words:
    """A chip with 16-bit registers, which a pointer chooses: LM75, INA219."""

    def __init__(self, contents):
        self.words = contents
        self._pointer = 0

    def write(self, data):
        self._pointer = data[0]
        if len(data) == 3:
            self.set(data[0], data[1] << 8 | data[2])
        elif len(data) == 2:
            self.set(data[0], data[1])

    def read(self, count):
        word = self.get(self._pointer)
        return bytes((word >> 8, word & 0xFF))[:count]

    def set(self, register, value):
        self.words[register] = value

    def get(self, register):
        return self.words[register]


class Pin:
    """Like machine.Pin."""

    def __init__(self, level=0):
        self.level = level
        self.history = []

    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level
        self.history.append(level)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)
