"""MicroPython's `machine` as far as hardware.py uses it, with nothing behind the pins. Runs on MicroPython.

`Machine(port)` makes one for "esp32" or "rp2", whose analogue inputs differ.
"""

from tests.node.drivers.buses import I2c
from tests.node.drivers.cases_lines import OneWire

# The pins in use, by their numbers.
PINS = {}


class Pin:
    IN, OUT = 0, 1
    PULL_UP, PULL_DOWN = 2, 1
    IRQ_RISING, IRQ_FALLING = 1, 2

    def __init__(self, number, mode=None, pull=None, value=None):
        if isinstance(number, int) and not 0 <= number <= 48:
            raise ValueError("invalid pin")
        self.number = number
        self.mode = mode
        self.pull = pull
        self.level = value or 0
        self.handler = None
        PINS[number] = self

    def value(self, level=None):
        if level is None:
            return self.level
        self.level = level

    def on(self):
        self.level = 1

    def off(self):
        self.level = 0

    def irq(self, handler, trigger):
        self.handler = handler
        self.trigger = trigger

    def move(self, level):
        """Something outside changes it."""
        rises = level > self.level
        self.level = level
        if self.handler is not None and self.trigger & (Pin.IRQ_RISING if rises else Pin.IRQ_FALLING):
            self.handler(self)


class Uart:
    def __init__(self, number, baudrate, rxbuf, tx, rx):
        self.made = number, baudrate, tx.number, rx.number

    def write(self, data):
        return len(data)

    def any(self):
        return 0

    def read(self):
        return None


class Pwm:
    def __init__(self, pin, freq, duty_u16):
        self.pin = pin
        self.frequency = freq
        self.duty = duty_u16

    def duty_u16(self, duty):
        self.duty = duty


class CalibratedAdc:
    ATTN_11DB = 3

    def __init__(self, pin, atten):
        assert atten == 3

    def read_uv(self):
        return 1_652_999


class PlainAdc:
    def __init__(self, pin):
        self.pin = pin

    def read_u16(self):
        return 32768


class Machine:
    Pin = Pin
    UART = Uart

    def __init__(self, port, chips):
        self.chips = chips
        self.buses = []
        self.pwms = []
        self.interrupts = True
        self.ADC = CalibratedAdc if port == "esp32" else PlainAdc
        PINS.clear()

    def I2C(self, number, freq, scl, sda):
        self.buses.append((number, freq, scl.number, sda.number))
        return I2c(self.chips)

    def PWM(self, pin, freq, duty_u16):
        made = Pwm(pin, freq, duty_u16)
        self.pwms.append(made)
        return made

    def disable_irq(self):
        assert self.interrupts
        self.interrupts = False
        return 7

    def enable_irq(self, state):
        assert state == 7
        self.interrupts = True


class NeoPixel:
    def __init__(self, pin, n):
        self.pin = pin
        self.n = n
        self.pixels = [None] * n
        self.writes = 0

    def __setitem__(self, index, colour):
        self.pixels[index] = colour

    def write(self):
        self.writes += 1


class Modules:
    """What MicroPython brings along: onewire, neopixel, dht. `load` stands in for __import__."""

    def __init__(self, wire_parts, dht_answer):
        self.wires = []
        self.strips = []
        self._wire_parts = wire_parts
        self._dht_answer = dht_answer

    def load(self, name):
        assert name in ("onewire", "neopixel", "dht")
        return self

    def OneWire(self, pin):
        self.wires.append(pin.number)
        return OneWire(self._wire_parts)

    def NeoPixel(self, pin, n):
        self.strips.append(NeoPixel(pin, n))
        return self.strips[-1]

    def dht_readinto(self, pin, buffer):
        buffer[:] = self._dht_answer
