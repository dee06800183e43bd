"""The pictures of devices' ghosts: a few simple shapes by the icon of the profile, drawn once and uploaded once.

A device that signs has a full colour; one that the gateway only attests is an outline in a broken ring. Imports Pillow,
so it is imported where a picture is drawn, in a thread; rooms.py does that.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from typing import Final

from PIL import Image, ImageDraw

from thingroom_gateway.icons import ATTESTED, HOME

SIZE: Final = 256
# Drawn so much larger, and then reduced: smooth edges.
_FINER: Final = 4
_UNIT: Final = SIZE * _FINER / 100
PAPER: Final = "#FBFAF7"
_DASHES: Final = 16

Point = tuple[float, float]


class _Pen:
    """Draws in `ink`, and takes away with `ground`, in hundredths of the picture."""

    def __init__(self, draw: ImageDraw.ImageDraw, ink: str, ground: str) -> None:
        self._draw = draw
        self.ink = ink
        self.ground = ground

    def shape(self, points: Sequence[Point], colour: str = "") -> None:
        self._draw.polygon([(x * _UNIT, y * _UNIT) for x, y in points], fill=colour or self.ink)

    def disc(self, x: float, y: float, radius: float, colour: str = "") -> None:
        box = ((x - radius) * _UNIT, (y - radius) * _UNIT, (x + radius) * _UNIT, (y + radius) * _UNIT)
        self._draw.ellipse(box, fill=colour or self.ink)

    def bar(self, x0: float, y0: float, x1: float, y1: float, round_: float = 0, colour: str = "") -> None:
        box = (x0 * _UNIT, y0 * _UNIT, x1 * _UNIT, y1 * _UNIT)
        self._draw.rounded_rectangle(box, round_ * _UNIT, fill=colour or self.ink)

    def line(self, points: Sequence[Point], width: float, colour: str = "") -> None:
        scaled = [(x * _UNIT, y * _UNIT) for x, y in points]
        self._draw.line(scaled, fill=colour or self.ink, width=round(width * _UNIT), joint="curve")
        for x, y in (points[0], points[-1]):
            self.disc(x, y, width / 2, colour)

    def arc(self, x: float, y: float, radius: float, begin: float, end: float, width: float, colour: str = "") -> None:
        """Degrees clockwise from three o'clock."""
        steps = max(2, round(abs(end - begin) / 4))
        angles = [math.radians(begin + (end - begin) * step / steps) for step in range(steps + 1)]
        self.line([(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles], width, colour)

    def drop(self, x: float, y: float, radius: float, colour: str = "") -> None:
        """A drop; (x, y) is the middle of its round part."""
        self.disc(x, y, radius, colour)
        angle = math.radians(32)
        side, up = radius * math.cos(angle), radius * math.sin(angle)
        self.shape([(x - side, y - up), (x, y - 2.1 * radius), (x + side, y - up)], colour)


def _thermometer(pen: _Pen) -> None:
    pen.bar(43, 20, 57, 66, 7)
    pen.disc(50, 69, 13)
    pen.bar(47, 27, 53, 66, 3, pen.ground)
    pen.disc(50, 69, 8.5, pen.ground)
    pen.bar(48, 44, 52, 68, 2)
    pen.disc(50, 69, 6)
    for y in (30, 39, 48):
        pen.line([(63, y), (70, y)], 3)


def _drop(pen: _Pen) -> None:
    pen.drop(50, 58, 19)
    pen.arc(50, 58, 11.5, 100, 165, 3.6, pen.ground)


def _leak(pen: _Pen) -> None:
    pen.drop(39, 48, 10)
    pen.drop(62, 42, 8)
    for y in (66, 75):
        pen.line([(26 + step * 4, y + 2.2 * math.sin(step * 1.1)) for step in range(13)], 4)


def _tap(pen: _Pen) -> None:
    pen.bar(24, 38, 62, 50, 3)
    pen.bar(52, 38, 66, 62, 6)
    pen.bar(40, 26, 46, 40)
    pen.bar(31, 23, 55, 29, 3)
    pen.drop(59, 77, 5.5)


def _battery(pen: _Pen) -> None:
    pen.bar(34, 27, 66, 77, 6)
    pen.bar(43, 21, 57, 28, 2)
    pen.bar(39, 33, 61, 72, 3, pen.ground)
    pen.bar(42, 49, 58, 69, 2)


def _bolt(pen: _Pen) -> None:
    pen.shape([(56, 18), (30, 55), (47, 55), (42, 82), (70, 43), (52, 43)])


def _bulb(pen: _Pen) -> None:
    pen.disc(50, 42, 19)
    pen.shape([(37, 54), (63, 54), (58, 66), (42, 66)])
    pen.bar(42, 68, 58, 72, 2)
    pen.bar(44, 74, 56, 78, 2)


def _sun(pen: _Pen) -> None:
    pen.disc(50, 50, 14)
    for step in range(8):
        angle = math.radians(step * 45)
        pen.line([(50 + r * math.cos(angle), 50 + r * math.sin(angle)) for r in (21, 29)], 4.4)


def _door(pen: _Pen) -> None:
    pen.bar(32, 21, 68, 79, 2)
    pen.bar(37, 26, 63, 79, 1, pen.ground)
    pen.shape([(37, 26), (55, 31), (55, 84), (37, 79)])
    pen.disc(51, 57, 2.2, pen.ground)


def _motion(pen: _Pen) -> None:
    pen.disc(38, 50, 8)
    for radius in (17, 26, 35):
        pen.arc(38, 50, radius, -42, 42, 4.6)


def _plant(pen: _Pen) -> None:
    pen.shape([(35, 61), (65, 61), (61, 81), (39, 81)])
    pen.line([(50, 61), (50, 38)], 4)
    pen.shape([(50, 50), (38, 47), (30, 34), (44, 36)])
    pen.shape([(50, 43), (54, 29), (69, 21), (66, 37)])


def _gauge(pen: _Pen) -> None:
    pen.arc(50, 56, 27, -205, 25, 5.6)
    pen.line([(50, 56), (64, 40)], 4.6)
    pen.disc(50, 56, 5.4)


def _weather(pen: _Pen) -> None:
    pen.disc(62, 37, 12)
    for step in range(-3, 3):
        angle = math.radians(step * 45)
        pen.line([(62 + r * math.cos(angle), 37 + r * math.sin(angle)) for r in (17, 22)], 3.4)
    for x, y, radius in ((38, 60, 16), (55, 57, 16), (66, 65, 12)):
        pen.disc(x, y, radius, pen.ground)
    for x, y, radius in ((37, 62, 12), (53, 58, 14), (66, 65, 10)):
        pen.disc(x, y, radius)
    pen.bar(30, 62, 70, 74.5, 6)


def _fan(pen: _Pen) -> None:
    for step in range(3):
        turn = math.radians(step * 120)
        blade = [(0.0, -5.0), (-10.0, -24.0), (4.0, -31.0), (14.0, -22.0), (6.0, -5.0)]
        pen.shape([(50 + x * math.cos(turn) - y * math.sin(turn), 50 + x * math.sin(turn) + y * math.cos(turn))
                   for x, y in blade])  # fmt: skip
    pen.disc(50, 50, 8, pen.ground)
    pen.disc(50, 50, 5)


def _scale(pen: _Pen) -> None:
    pen.line([(50, 24), (50, 74)], 4)
    pen.line([(26, 33), (74, 33)], 4)
    pen.line([(36, 77), (64, 77)], 5)
    for x in (28, 72):
        pen.line([(x, 33), (x - 8, 56)], 2.4)
        pen.line([(x, 33), (x + 8, 56)], 2.4)
        pen.shape([(x - 12, 55), (x + 12, 55), (x + 6, 63), (x - 6, 63)])


def _dust(pen: _Pen) -> None:
    for x, y, radius in ((36, 34, 5), (54, 28, 3), (67, 39, 6), (46, 48, 4), (30, 57, 3.4), (62, 58, 3.6),
                         (45, 68, 6), (70, 71, 3), (28, 72, 2.6)):  # fmt: skip
        pen.disc(x, y, radius)


def _sliders(pen: _Pen) -> None:
    for x, y in ((33, 60), (50, 37), (67, 53)):
        pen.line([(x, 24), (x, 76)], 3.6)
        pen.bar(x - 6, y - 5, x + 6, y + 5, 3)


def _air(pen: _Pen) -> None:
    for y, end, radius, up in ((41, 58, 8, -1), (52, 68, 8, -1), (63, 52, 7, 1)):
        pen.line([(24, y), (end, y)], 4.6)
        pen.arc(end, y + up * radius, radius, -90 * up, 150 * up, 4.6)


def _plug(pen: _Pen) -> None:
    pen.bar(39, 21, 45, 40, 2)
    pen.bar(55, 21, 61, 40, 2)
    pen.bar(31, 37, 69, 45, 3)
    pen.bar(35, 42, 65, 62, 10)
    pen.line([(50, 60), (50, 80)], 5)


def _switch(pen: _Pen) -> None:
    pen.bar(22, 36, 78, 64, 14)
    pen.disc(64, 50, 10, pen.ground)


def _flame(pen: _Pen) -> None:
    pen.disc(50, 60, 19)
    pen.shape([(31.5, 56), (37, 36), (43, 44), (52, 18), (64, 38), (69, 57)])
    pen.disc(50, 66, 9, pen.ground)
    pen.shape([(41.5, 63), (51, 45), (58.5, 63)], pen.ground)


def _ruler(pen: _Pen) -> None:
    pen.bar(20, 39, 80, 61, 3)
    for step in range(7):
        x = 26 + step * 8
        pen.line([(x, 40), (x, 50 if step % 2 == 0 else 46)], 2.4, pen.ground)


def _curve(pen: _Pen) -> None:
    pen.line([(26, 24), (26, 75), (78, 75)], 4)
    pen.line([(33, 63), (45, 49), (56, 57), (73, 32)], 4.8)


def _home(pen: _Pen) -> None:
    pen.shape([(50, 20), (80, 49), (20, 49)])
    pen.bar(29, 47, 71, 78, 2)
    pen.disc(50, 64, 3.4, pen.ground)
    pen.arc(50, 64, 9, -145, -35, 3, pen.ground)
    pen.arc(50, 64, 15, -145, -35, 3, pen.ground)


def _signal(pen: _Pen) -> None:
    """For an icon that we have no shape for."""
    pen.disc(50, 63, 6)
    for radius in (16, 27):
        pen.arc(50, 63, radius, -140, -40, 5)
    pen.line([(50, 66), (50, 79)], 4)


_RED, _BLUE, _GREEN, _YELLOW = "#B5473C", "#2F6FA8", "#2E7D5B", "#A8740A"
_VIOLET, _GREY, _TEAL, _INK = "#7B5299", "#5C6470", "#1E7A84", "#3E4E7E"
SHAPES: Final[dict[str, tuple[Callable[[_Pen], None], str]]] = {
    "🌡": (_thermometer, _RED),
    "🔥": (_flame, _RED),
    "💧": (_drop, _BLUE),
    "🌊": (_drop, _BLUE),
    "💦": (_leak, _BLUE),
    "🚰": (_tap, _BLUE),
    "🌦": (_weather, _TEAL),
    "🧭": (_gauge, _TEAL),
    "🌀": (_fan, _TEAL),
    "🫁": (_air, _TEAL),
    "🌫": (_dust, _GREY),
    "🪴": (_plant, _GREEN),
    "🔋": (_battery, _GREEN),
    "⚡": (_bolt, _YELLOW),
    "💡": (_bulb, _YELLOW),
    "🌈": (_bulb, _YELLOW),
    "🎨": (_bulb, _YELLOW),
    "🔆": (_sun, _YELLOW),
    "🔌": (_plug, _VIOLET),
    "🔘": (_switch, _VIOLET),
    "🎛": (_sliders, _VIOLET),
    "🚪": (_door, _GREY),
    "🏃": (_motion, _GREY),
    "⚖": (_scale, _GREY),
    "📏": (_ruler, _GREY),
    "📈": (_curve, _INK),
    HOME: (_home, _INK),
}
_OTHER: Final = (_signal, _INK)


def draw(name: str) -> bytes:
    """The picture of that name as PNG, SIZE x SIZE pixels; clients show the circle in it."""
    shape, colour = SHAPES.get(name.removesuffix(ATTESTED), _OTHER)
    attested = name.endswith(ATTESTED)
    ink, ground = (colour, PAPER) if attested else (PAPER, colour)
    image = Image.new("RGB", (SIZE * _FINER, SIZE * _FINER), ground)
    pen = _Pen(ImageDraw.Draw(image), ink, ground)
    if attested:
        for step in range(_DASHES):
            begin = step * 360 / _DASHES
            pen.arc(50, 50, 45, begin, begin + 0.55 * 360 / _DASHES, 3)
    shape(pen)
    picture = io.BytesIO()
    small = image.resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    small.quantize(32, dither=Image.Dither.NONE).save(picture, "PNG", optimize=True)
    return picture.getvalue()
