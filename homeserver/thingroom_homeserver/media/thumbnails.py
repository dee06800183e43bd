"""Thumbnails of uploaded pictures: looked up on disk, or made in one thread, once for all who ask.

May import Pillow only through thumbnail_image.py. Called by client_api/media_thumbnail.py.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused, StoredFile, Why
from thingroom_homeserver.media.repository import MediaRepository
from thingroom_homeserver.media.thumbnail_image import SUFFIX_TYPES, AsItIs, make_thumbnail
from thingroom_homeserver.media.thumbnail_size import Method, ThumbnailSize, listed_size

MAX_WAITING = 100


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """A thumbnail on the disk; the file itself where that is no larger."""

    path: Path
    content_type: str


class Thumbnails:
    """Makes and keeps thumbnails. `close` when done."""

    def __init__(self, repository: MediaRepository, max_pixels: int) -> None:
        self._repository = repository
        self._max_pixels = max_pixels
        self._making: dict[tuple[str, str], asyncio.Task[Thumbnail | Refused]] = {}
        self._thread = ThreadPoolExecutor(1, "thumbnails")

    async def close(self) -> None:
        """Finish the picture that is being worked on, and forget about those that wait."""
        await asyncio.to_thread(self._thread.shutdown, cancel_futures=True)

    async def get(
        self, file: StoredFile, width: int, height: int, method: Method, *, animated: bool
    ) -> Thumbnail | Refused:
        """The thumbnail of `file` that is at least width x height pixels, as far as the picture is."""
        size = listed_size(width, height, method)
        name = f"{size.width}x{size.height}-{size.method}{'-animated' if animated else ''}"
        key = (file.media_id, name)
        making = self._making.get(key)
        if making is None:
            kept = await asyncio.to_thread(self._kept, file.media_id, name)
            if kept is not None:
                return kept
            making = self._making.get(key)
        if making is None:
            if len(self._making) >= MAX_WAITING:
                return Refused(Why.BUSY, "Too many thumbnails are being made")
            making = asyncio.create_task(self._make(file.media_id, name, size, animated))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(making)

    async def _make(self, media_id: str, name: str, size: ThumbnailSize, animated: bool) -> Thumbnail | Refused:
        return await asyncio.get_running_loop().run_in_executor(
            self._thread, self._make_in_thread, media_id, name, size, animated
        )

    def _make_in_thread(self, media_id: str, name: str, size: ThumbnailSize, animated: bool) -> Thumbnail | Refused:
        files = self._repository.files
        try:
            with files.open(media_id) as source:
                made = make_thumbnail(source, size, animated=animated, max_pixels=self._max_pixels)
        except FileNotFoundError:
            return NOT_FOUND
        if isinstance(made, Refused):
            return made
        if isinstance(made, AsItIs):
            return Thumbnail(files.path_of(media_id), made.content_type)
        path = files.keep_thumbnail(media_id, f"{name}.{made.suffix}", made.data)
        return Thumbnail(path, SUFFIX_TYPES[made.suffix])

    def _kept(self, media_id: str, name: str) -> Thumbnail | None:
        for suffix, content_type in SUFFIX_TYPES.items():
            path = self._repository.files.thumbnail(media_id, f"{name}.{suffix}")
            if path.exists():
                return Thumbnail(path, content_type)
        return None
