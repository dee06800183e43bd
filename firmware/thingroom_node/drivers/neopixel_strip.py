"""A strip of NeoPixels (WS2812B) or a single one: colours, brightness, effects. Profile light.

Four actuators, one strip: on, brightness, colour, effect. May import dimmer. ../equipment.py draws the effects' frames.
"""

from thingroom_node.drivers.dimmer import Brightness, On

COLOURS = {
    "warm white": (255, 147, 41),
    "white": (255, 255, 255),
    "red": (255, 0, 0),
    "orange": (255, 80, 0),
    "yellow": (255, 190, 0),
    "green": (0, 255, 0),
    "cyan": (0, 255, 200),
    "blue": (0, 0, 255),
    "violet": (150, 0, 255),
    "pink": (255, 40, 120),
}
EFFECTS = ("none", "rainbow", "breathe", "sparkle", "candle")
_FRAME_MS = 50


class Strip:
    """`pixels` is like neopixel.NeoPixel: item assignment, `n`, write. `changed` is called after each change."""

    def __init__(self, pixels):
        self._pixels = pixels
        self._step = 0
        self._noise = 1
        self.is_on = False
        self.brightness = 100
        self.colour = "warm white"
        self.effect = "none"
        self.changed = None
        self.parts = {
            "on": On(self),
            "brightness": Brightness(self),
            "colour": Choice(self, "colour", COLOURS),
            "effect": Choice(self, "effect", EFFECTS),
        }
        self.show()

    def show(self):
        """Draw the next frame, and tell that something has changed."""
        self.frame()
        if self.changed is not None:
            self.changed()

    def frame(self):
        """Draw. Returns the milliseconds until the next frame, None where nothing moves."""
        pixels = self._pixels
        self._step += 1
        moves = self.is_on and self.effect != "none"
        for index in range(pixels.n):
            pixels[index] = self._pixel(index) if self.is_on else (0, 0, 0)
        pixels.write()
        return _FRAME_MS if moves else None

    def _pixel(self, index):
        red, green, blue = COLOURS[self.colour]
        share = self.brightness * self.brightness
        if self.effect == "rainbow":
            red, green, blue = _wheel((self._step * 3 + index * 256 // self._pixels.n) & 255)
        elif self.effect == "breathe":
            share = share * (20 + abs(self._step * 2 % 160 - 80)) // 100
        elif self.effect == "sparkle":
            share = share if self._random() < 40 else share // 4
        elif self.effect == "candle":
            share = share * (160 + self._random() * 95 // 256) // 255
        return red * share // 10000, green * share // 10000, blue * share // 10000

    def _random(self):
        """0 to 255, good enough to flicker."""
        self._noise = (self._noise * 1103 + 12345) & 0xFFFF
        return self._noise >> 8


class Choice:
    """Sets an attribute of the `strip` to one of the words `options`."""

    def __init__(self, strip, attribute, options):
        self._strip = strip
        self._attribute = attribute
        self._options = options

    def write(self, value):
        """One of the options. OSError for another: the settings offer more than there is."""
        if value not in self._options:
            raise OSError("no {} {}".format(self._attribute, value))
        setattr(self._strip, self._attribute, value)
        self._strip.show()

    def read(self):
        """The word."""
        return getattr(self._strip, self._attribute)


def _wheel(position):
    """A colour of the rainbow, 0 to 255."""
    third, rest = position // 86, position % 86 * 255 // 85
    return ((255 - rest, rest, 0), (0, 255 - rest, rest), (rest, 0, 255 - rest))[third]
