"""A lamp behind a pin with pulse-width modulation. Profile dimmer: two actuators, `on` and `brightness`, one lamp.

May import thingroom_wire.
"""

from thingroom_wire.cbor import Decimal


def whole(value):
    """The number of a command, an int or a Decimal, as an int; what is behind the point is cut off."""
    if type(value) is not Decimal:
        return value
    if value.exponent >= 0:
        return value.mantissa * 10**value.exponent
    return value.mantissa // 10**-value.exponent


class Dimmer:
    """`pwm` is like machine.PWM: duty_u16. `parts` are the drivers of its actuators."""

    def __init__(self, pwm):
        self._pwm = pwm
        self.is_on = False
        self.brightness = 100
        self.parts = {"on": On(self), "brightness": Brightness(self)}
        self.show()

    def show(self):
        """Set the pin. The eye takes a quarter of the light for half of it: the square makes steps look even."""
        level = self.brightness if self.is_on else 0
        self._pwm.duty_u16(level * level * 65535 // 10000)


class On:
    """Turns the `lamp` on and off."""

    def __init__(self, lamp):
        self._lamp = lamp

    def write(self, value):
        """True or False."""
        self._lamp.is_on = bool(value)
        self._lamp.show()

    def read(self):
        """Whether it is on."""
        return self._lamp.is_on


class Brightness:
    """Sets how bright the `lamp` is; 0 turns it off, all else on."""

    def __init__(self, lamp):
        self._lamp = lamp

    def write(self, value):
        """0 to 100 percent."""
        level = min(max(whole(value), 0), 100)
        self._lamp.is_on = level > 0
        if level:
            self._lamp.brightness = level
        self._lamp.show()

    def read(self):
        """Percent; also while it is off."""
        return self._lamp.brightness
