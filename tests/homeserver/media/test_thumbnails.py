"""Thumbnails of pictures made by Pillow, whole and broken, small and far too large."""

from __future__ import annotations

import asyncio
import io
import struct
import zlib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ImageChops, ImageOps, ImageStat
from tests.homeserver.media.media_support import (
    Got,
    fetch,
    moving_picture,
    opened,
    picture,
    turned_picture,
    uploaded,
)
from tests.homeserver.running import MatrixClient, RunningHomeserver

from thingroom_homeserver.media.outcomes import Refused
from thingroom_homeserver.media.thumbnail_image import facts_of, make_thumbnail
from thingroom_homeserver.media.thumbnail_size import ThumbnailSize


async def thumbnail(client: MatrixClient, name: str, width: int, height: int, **query: str) -> Got:
    got = await fetch(client, f"client/v1/media/thumbnail/{name}", width=width, height=height, **query)
    assert got.status == 200, got.data
    assert got.headers["Content-Disposition"].startswith('inline; filename="thumbnail.')
    assert got.headers["X-Content-Type-Options"] == "nosniff"
    return got


@pytest.mark.parametrize(
    ("size", "asked", "method", "made"),
    [
        ((1000, 500), (32, 32), "crop", (32, 32)),
        ((1000, 500), (96, 96), "crop", (96, 96)),
        ((1000, 500), (33, 33), "crop", (96, 96)),
        ((1000, 500), (320, 240), "scale", (320, 160)),
        ((500, 1000), (640, 480), "scale", (240, 480)),
        ((3000, 2000), (2000, 2000), "scale", (3000, 2000)),
        ((50, 40), (96, 96), "crop", (50, 40)),
        ((50, 40), (800, 600), "scale", (50, 40)),
    ],
)
async def test_sizes(alice: MatrixClient, size, asked, method: str, made):
    name = await uploaded(alice, picture(*size), "image/jpeg")
    got = await thumbnail(alice, name, *asked, method=method)
    image = opened(got.data)
    assert image.size == made
    assert got.headers["Content-Type"] == "image/jpeg" == image.get_format_mimetype()
    red, _, blue = image.getpixel((image.width // 8, image.height // 2))
    assert red > 200 > 60 > blue
    red, _, blue = image.getpixel((image.width * 7 // 8, image.height // 2))
    assert blue > 200 > 60 > red


async def test_a_small_picture_is_returned_as_it_is(alice: MatrixClient):
    data = picture(60, 60, "PNG")
    name = await uploaded(alice, data)
    got = await thumbnail(alice, name, 96, 96, method="crop")
    assert got.data == data
    assert got.headers["Content-Type"] == "image/png"


async def test_transparency_stays(alice: MatrixClient):
    name = await uploaded(alice, picture(300, 300, "PNG", "RGBA"))
    got = await thumbnail(alice, name, 32, 32)
    assert got.headers["Content-Type"] == "image/png"
    assert opened(got.data).mode == "RGBA"


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"), [(6, (20, 40), (10, 4)), (3, (40, 20), (36, 10)), (8, (20, 40), (10, 36))]
)
async def test_orientation_is_applied(alice: MatrixClient, orientation: int, size, red_at):
    name = await uploaded(alice, turned_picture(400, 200, orientation), "image/jpeg")
    image = opened((await thumbnail(alice, name, 32, 32, method="scale")).data)
    assert image.size == tuple(side * 32 // 40 for side in size)
    red, _, blue = image.getpixel((red_at[0] * 32 // 40, red_at[1] * 32 // 40))
    assert red > 150 > blue


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
async def test_moving_pictures(alice: MatrixClient, form: str):
    name = await uploaded(alice, moving_picture(200, 100, 5, form), f"image/{form.lower()}")
    for size in (32, 320):
        still = opened((await thumbnail(alice, name, size, size)).data)
        assert getattr(still, "n_frames", 1) == 1
        moving = opened((await thumbnail(alice, name, size, size, animated="true")).data)
        assert moving.n_frames == 5
        assert moving.width == min(200, size)


async def test_one_file_for_many_sizes_and_requests(homeserver: RunningHomeserver, alice: MatrixClient):
    name = await uploaded(alice, picture(1000, 1000), "image/jpeg")
    answers = await asyncio.gather(*(thumbnail(alice, name, side, side, method="crop") for side in range(40, 90)))
    assert len({got.data for got in answers}) == 1
    assert len({got.headers["ETag"] for got in answers}) == 1
    folder = Path(homeserver.config.data_directory) / "media" / "thumbnails"
    (kept,) = [path for path in folder.rglob("*") if path.is_file()]
    assert kept.read_bytes() == answers[0].data
    assert kept.stat().st_mode & 0o777 == 0o600
    etag = answers[0].headers["ETag"]
    path = f"client/v1/media/thumbnail/{name}"
    assert (await fetch(alice, path, {"If-None-Match": etag}, width=40, height=40, method="crop")).status == 304


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few bytes that says it is of width x height."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(100_000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(5001, 5000), (60_000, 60_000)])
async def test_bombs_are_refused_by_their_header(alice: MatrixClient, size: tuple[int, int]):
    name = await uploaded(alice, bomb(*size))
    (await alice.get(f"v1/media/thumbnail/{name}", width=32, height=32)).is_error(413, "M_TOO_LARGE")


async def test_what_is_no_picture_or_broken_has_no_thumbnail(alice: MatrixClient):
    noise = picture(300, 300, "PNG")
    for data in (b"", b"hello", noise[: len(noise) // 2], picture(300, 300)[:-300], b"<svg/>", picture(9, 9, "BMP")):
        name = await uploaded(alice, data)
        (await alice.get(f"v1/media/thumbnail/{name}", width=32, height=32)).is_error(400, "M_UNKNOWN")


@pytest.mark.parametrize(
    "query",
    [
        {"width": 0, "height": 1},
        {"width": 1},
        {"width": "x", "height": 1},
        {"width": -1, "height": 1},
        {"width": 1, "height": 1, "method": "squeeze"},
        {"width": 1, "height": 1, "animated": "perhaps"},
    ],
)
async def test_odd_requests(alice: MatrixClient, query: dict[str, object]):
    name = await uploaded(alice, picture(10, 10))
    got = await fetch(alice, f"client/v1/media/thumbnail/{name}", **query)
    assert got.status == 400
    assert msgspec.json.decode(got.data)["errcode"] in ("M_INVALID_PARAM", "M_MISSING_PARAM")


SAMPLES = [
    picture(20, 20),
    picture(20, 20, "PNG"),
    moving_picture(20, 20, 3),
    moving_picture(20, 20, 3, "WEBP"),
    turned_picture(20, 10, 6),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(SAMPLES), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=6), st.data())
def test_damaged_pictures_are_answers(tmp_path_factory, sample: bytes, damage, data):
    broken = bytearray(sample)
    for place, byte in damage:
        broken[place % len(broken)] = byte
    cut = bytes(broken[: data.draw(st.integers(0, len(broken)))])
    for animated in (True, False):
        made = make_thumbnail(io.BytesIO(cut), ThumbnailSize(32, 32, "crop"), animated=animated, max_pixels=1_000_000)
        assert isinstance(made, Refused) or made is not None
    facts_of(io.BytesIO(cut))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_as_pillow_turns_it(orientation: int):
    source = turned_picture(400, 200, orientation)
    made = make_thumbnail(io.BytesIO(source), ThumbnailSize(96, 96, "scale"), animated=False, max_pixels=1_000_000)
    upright = ImageOps.exif_transpose(opened(source)).resize(opened(made.data).size)
    assert max(upright.size) == 96
    difference = ImageChops.difference(opened(made.data), upright.convert("RGB"))
    assert ImageStat.Stat(difference).mean < [6, 6, 6]
