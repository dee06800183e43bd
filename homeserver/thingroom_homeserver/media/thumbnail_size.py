"""Which thumbnail to make for the size that a client asks for.

Pure. Sizes are rounded up to a short list, so that asking for every size does not fill the disk: six boxes for
"scale"; for "crop" six longer edges and seven ratios. Nothing is ever enlarged.
Source: client-server API, "Thumbnails". Next: thumbnail_image.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Method = Literal["crop", "scale"]

AS_LARGE_AS_IT_IS = 20_000
"""An edge beyond every picture that is thumbnailed: the picture keeps its size."""
_BOXES = ((32, 32), (96, 96), (320, 240), (640, 480), (800, 600), (1600, 1200))
_EDGES = (32, 96, 320, 640, 800, 1600)
_RATIOS = tuple(Fraction(*pair) for pair in ((1, 4), (1, 3), (1, 2), (9, 16), (2, 3), (3, 4), (1, 1)))


@dataclass(frozen=True, slots=True)
class ThumbnailSize:
    """What is made: the picture scaled to fit into the box, or scaled to cover it and cropped."""

    width: int
    height: int
    method: Method


def listed_size(width: int, height: int, method: Method) -> ThumbnailSize:
    """The listed size that is at least width x height (pixels, positive), the smallest such."""
    if method == "scale":
        for box in _BOXES:
            if width <= box[0] and height <= box[1]:
                return ThumbnailSize(*box, method)
        return ThumbnailSize(AS_LARGE_AS_IT_IS, AS_LARGE_AS_IT_IS, method)
    long, short = max(width, height), min(width, height)
    edge = next((edge for edge in _EDGES if long <= edge), AS_LARGE_AS_IT_IS)
    needed = Fraction(short * edge, long)
    other = next(other for ratio in _RATIOS if (other := math.ceil(edge * ratio)) >= needed)
    return ThumbnailSize(edge, other, method) if width >= height else ThumbnailSize(other, edge, method)


@dataclass(frozen=True, slots=True)
class Plan:
    """Scale the picture to `scaled` (width, height), then cut out `box` (left, top, right, bottom)."""

    scaled: tuple[int, int]
    box: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        return self.box[2] - self.box[0], self.box[3] - self.box[1]


def plan(size: ThumbnailSize, width: int, height: int) -> Plan:
    """How to make `size` of a picture of width x height pixels, without enlarging it.

    A side of a "crop" is only shorter than asked where the picture's own side is.
    """
    fit = min if size.method == "scale" else max
    factor = min(Fraction(1), fit(Fraction(size.width, width), Fraction(size.height, height)))
    scaled = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size.method == "scale":
        return Plan(scaled, (0, 0, *scaled))
    cut = (min(size.width, scaled[0]), min(size.height, scaled[1]))
    left, top = (scaled[0] - cut[0]) // 2, (scaled[1] - cut[1]) // 2
    return Plan(scaled, (left, top, left + cut[0], top + cut[1]))
