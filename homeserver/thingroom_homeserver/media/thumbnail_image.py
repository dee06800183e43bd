"""From the bytes of a picture to those of its thumbnail, with Pillow.

May import Pillow (loaded at the first picture) and thumbnail_size.py. Blocks, and works for as long as a large picture
takes: thumbnails.py calls it in a thread. Pictures come from strangers: the format is one of four, the number of pixels
is looked at before any is decoded, and whatever a decoder stumbles over is an answer, not an error.
"""

from __future__ import annotations

import io
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from thingroom_homeserver.media.outcomes import Refused, Why
from thingroom_homeserver.media.thumbnail_size import Plan, ThumbnailSize, plan

if TYPE_CHECKING:
    from PIL import Image

logger = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "GIF", "WEBP")
MAX_FRAMES = 200
_SHRINK_WHILE_DECODED = frozenset({"JPEG", "MPO"})
_ORIENTATION = 0x0112
_ON_ITS_SIDE = frozenset({5, 6, 7, 8})
_TURNS = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
"""What to do to a picture with that EXIF orientation (TIFF 6.0, tag 274) to see it upright."""
_TYPE_AND_SUFFIX = {"JPEG": ("image/jpeg", "jpg"), "PNG": ("image/png", "png"), "WEBP": ("image/webp", "webp")}
_ORIGINAL_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
SUFFIX_TYPES = {suffix: content_type for content_type, suffix in _TYPE_AND_SUFFIX.values()}


@dataclass(frozen=True, slots=True)
class Made:
    """A thumbnail, and the suffix that tells its format: jpg, png or webp."""

    data: bytes
    suffix: str


@dataclass(frozen=True, slots=True)
class AsItIs:
    """The picture is no larger than its thumbnail would be: the file itself is to be served, as this type."""

    content_type: str


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What the header of a picture says, its orientation counted in."""

    width: int
    height: int
    content_type: str


def facts_of(file: BinaryIO) -> PictureFacts | None:
    """Size and type of a picture; None for anything else."""
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = _upright_size(image)
            return PictureFacts(width, height, _content_type(image))
    except Exception as error:  # decoders raise whatever their input makes them stumble over
        logger.debug("not a picture: %s", error)
        return None


def make_thumbnail(file: BinaryIO, size: ThumbnailSize, *, animated: bool, max_pixels: int) -> Made | AsItIs | Refused:
    """The thumbnail of the picture in `file`; a moving one only if `animated` and the picture moves.

    A JPEG may have `max_pixels`, others half as many: they are decoded whole, at up to 16 bytes a pixel.
    """
    from PIL import Image

    try:
        with Image.open(file, formats=FORMATS) as image:
            shrinks = image.format in _SHRINK_WHILE_DECODED
            if image.width * image.height > (max_pixels if shrinks else max_pixels // 2):
                return Refused(Why.TOO_LARGE, "The picture is too large to thumbnail")
            frames = getattr(image, "n_frames", 1) if animated else 1
            upright = _upright_size(image)
            steps = plan(size, *upright)
            if steps.size == upright and (animated or not getattr(image, "is_animated", False)):
                image.load()  # a broken picture is no thumbnail of itself
                return AsItIs(_content_type(image))
            if 1 < frames <= MAX_FRAMES and frames * image.width * image.height <= 4 * max_pixels:
                return _moving(image, steps, frames)
            return _still(image, steps)
    except (Image.DecompressionBombError, MemoryError):
        return Refused(Why.TOO_LARGE, "The picture is too large to thumbnail")
    except Exception as error:  # decoders raise whatever their input makes them stumble over
        logger.debug("cannot thumbnail: %s", error)
        return Refused(Why.CANNOT_THUMBNAIL, "Cannot make a thumbnail of this file")


def _content_type(image: Image.Image) -> str:
    return _ORIGINAL_TYPES.get(image.format or "", "image/jpeg")  # the rest are kinds of JPEG, such as MPO


def _orientation(image: Image.Image) -> int:
    value = image.getexif().get(_ORIENTATION)
    return value if isinstance(value, int) else 1


def _upright_size(image: Image.Image) -> tuple[int, int]:
    return (image.height, image.width) if _orientation(image) in _ON_ITS_SIDE else (image.width, image.height)


def _still(image: Image.Image, steps: Plan) -> Made:
    if image.format == "JPEG":
        edge = max(steps.scaled)
        image.draft(None, (edge, edge))  # let the decoder shrink while it decodes
    if image.has_transparency_data:
        return _encoded(_shaped(image, "RGBA", steps), "PNG", {})
    return _encoded(_shaped(image, "RGB", steps), "JPEG", {"quality": 82})


def _moving(image: Image.Image, steps: Plan, frames: int) -> Made:
    pictures, durations = [], []
    for number in range(frames):
        image.seek(number)
        pictures.append(_shaped(image, "RGBA", steps))
        durations.append(max(20, int(image.info.get("duration") or 100)))
    loop = int(image.info.get("loop", 0))
    options = {"save_all": True, "append_images": pictures[1:], "duration": durations, "loop": loop, "quality": 75}
    return _encoded(pictures[0], "WEBP", options)


def _shaped(image: Image.Image, mode: str, steps: Plan) -> Image.Image:
    """The picture as planned. It is turned upright when it is small already: a large one is copied once at most."""
    from PIL import Image

    orientation = _orientation(image)
    width, height = steps.scaled
    size = (height, width) if orientation in _ON_ITS_SIDE else (width, height)
    picture = image if image.mode == mode else image.convert(mode)
    scaled = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    turn = _TURNS.get(orientation)
    return (scaled if turn is None else scaled.transpose(Image.Transpose[turn])).crop(steps.box)


def _encoded(picture: Image.Image, form: str, options: dict[str, object]) -> Made:
    out = io.BytesIO()
    picture.info.clear()  # no colour profile, comment or EXIF of the original: thumbnails tell no places
    picture.save(out, form, **options)
    return Made(out.getvalue(), _TYPE_AND_SUFFIX[form][1])
