"""Media of both servers: a file up and down, and a picture's thumbnail.

Called by homeserver.py, once for each server. A server may make thumbnails when a picture comes in or when one is
asked for, so upload and first thumbnail are one figure.
"""

from __future__ import annotations

import io
import os
import statistics
from functools import partial

from PIL import Image

from bench.many_rooms import timed
from bench.matrix_client import MatrixClient
from bench.measure import progress

FILE_BYTES = 1_000_000
PICTURE_SIZE = (1600, 1200)
THUMBNAIL = "?width=320&height=240&method=scale"
REPEATS = 5


async def measure(client: MatrixClient, where: str) -> dict[str, float]:
    """Seconds, by the names that homeserver.py shows."""
    progress(f"{where}: media")
    figures: dict[str, list[float]] = {name: [] for name in ("upload", "download", "picture", "thumbnail")}
    for _ in range(REPEATS):
        content, picture = os.urandom(FILE_BYTES), _picture()
        media: list[str] = []

        async def upload(data: bytes, kind: str, media: list[str] = media) -> None:
            media.append(await client.upload(data, kind))

        figures["upload"].append(await timed(partial(upload, content, "application/octet-stream")))
        figures["download"].append(await timed(partial(client.download, media[0])))

        async def picture_and_thumbnail(data: bytes = picture, media: list[str] = media) -> None:
            media.append(await client.upload(data, "image/jpeg"))
            await client.download(media[1], THUMBNAIL)

        figures["picture"].append(await timed(picture_and_thumbnail))
        figures["thumbnail"].append(await timed(partial(client.download, media[1], THUMBNAIL)))
    return {name: statistics.median(times) for name, times in figures.items()}


def _picture() -> bytes:
    """A JPEG like no other before it, with detail at every scale."""
    noise = Image.frombytes("RGB", (160, 120), os.urandom(160 * 120 * 3))
    into = io.BytesIO()
    noise.resize(PICTURE_SIZE, Image.Resampling.BICUBIC).save(into, "JPEG", quality=85)
    return into.getvalue()
