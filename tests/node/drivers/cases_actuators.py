"""Relay, dimmer and NeoPixels: what pins see when actuators are told."""

from tests.node.drivers.buses import Pin

from thingroom_node.drivers.dimmer import Dimmer, whole
from thingroom_node.drivers.neopixel_strip import COLOURS, EFFECTS, Strip
from thingroom_node.drivers.relay import Relay
from thingroom_wire.cbor import Decimal


class Pwm:
    def __init__(self):
        self.duty = None

    def duty_u16(self, duty):
        assert 0 <= duty <= 65535
        self.duty = duty


class Pixels:
    """Like neopixel.NeoPixel; what `write` sends is kept."""

    def __init__(self, n):
        self.n = n
        self._pixels = [None] * n
        self.shown = None

    def __setitem__(self, index, colour):
        assert len(colour) == 3 and all(isinstance(part, int) and 0 <= part <= 255 for part in colour), colour
        self._pixels[index] = colour

    def write(self):
        self.shown = list(self._pixels)


def case_a_relay_is_off_until_it_is_told():
    pin = Pin()
    relay = Relay(pin)
    assert relay.read() is False and pin.history == []
    for value in (True, True, False):
        relay.write(value)
        assert relay.read() is value and pin.level == value


def case_a_dimmer_remembers_how_bright_it_was():
    pwm = Pwm()
    lamp = Dimmer(pwm)
    switch, level = lamp.parts["on"], lamp.parts["brightness"]
    assert pwm.duty == 0 and switch.read() is False and level.read() == 100
    level.write(Decimal(500, -1))
    assert pwm.duty == 16383 and switch.read() is True and level.read() == 50
    switch.write(False)
    assert pwm.duty == 0 and level.read() == 50
    switch.write(True)
    assert pwm.duty == 16383
    level.write(0)
    assert pwm.duty == 0 and switch.read() is False
    level.write(100)
    assert pwm.duty == 65535


def case_numbers_of_commands():
    for value, expected in ((7, 7), (Decimal(75, -1), 7), (Decimal(1, 2), 100), (Decimal(1, -30), 0)):
        assert whole(value) == expected


def case_a_strip_shows_colours_and_effects():
    pixels = Pixels(3)
    strip = Strip(pixels)
    parts = strip.parts
    assert pixels.shown == [(0, 0, 0)] * 3
    parts["colour"].write("red")
    assert pixels.shown == [(0, 0, 0)] * 3 and strip.frame() is None
    parts["on"].write(True)
    assert pixels.shown == [(255, 0, 0)] * 3
    parts["brightness"].write(50)
    assert pixels.shown == [(63, 0, 0)] * 3
    for effect in EFFECTS:
        for colour in COLOURS:
            parts["colour"].write(colour)
            parts["effect"].write(effect)
            shown = []
            for _ in range(40):
                pause = strip.frame()
                shown.append(tuple(pixels.shown))
            assert (pause is None) == (effect == "none")
            assert (len(set(shown)) > 1) == (effect != "none"), effect
    parts["on"].write(False)
    assert strip.frame() is None and pixels.shown == [(0, 0, 0)] * 3


def case_a_strip_refuses_what_it_does_not_know():
    parts = Strip(Pixels(1)).parts
    for part in ("colour", "effect"):
        before = parts[part].read()
        try:
            parts[part].write("beige")
        except OSError:
            assert parts[part].read() == before
        else:
            raise AssertionError("taken")
