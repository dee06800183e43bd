"""URL previews: fetch the page that a message links to, and say what it says about itself.

May import the repository (for the page's picture) and guarded_fetch.py. Off unless url_previews is set.
Source: client-server API, GET /media/preview_url. Called by client_api/media_preview.py.
"""

from __future__ import annotations

import asyncio
import io
from collections import OrderedDict
from collections.abc import AsyncIterator
from typing import Any

import yarl

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.media.guarded_fetch import MAX_URL, Fetched, GuardedFetch
from thingroom_homeserver.media.outcomes import Refused, StoredFile, Why
from thingroom_homeserver.media.preview_page import HTML_TYPES, read_page
from thingroom_homeserver.media.repository import SERVER, MediaRepository
from thingroom_homeserver.media.thumbnail_image import PictureFacts, facts_of

KEEP_SECONDS = 3600.0
MAX_KEPT = 500
MAX_AT_ONCE = 20
ACCEPT_PAGE = "text/html,application/xhtml+xml,image/*;q=0.8"
ACCEPT_PICTURE = "image/*"

Preview = dict[str, Any]


class Previews:
    """Previews made in the last hour, in memory, and the making of others."""

    def __init__(self, repository: MediaRepository, fetch: GuardedFetch, clock: Clock, max_bytes: int) -> None:
        self._repository = repository
        self._fetch = fetch
        self._clock = clock
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, tuple[float, Preview]] = OrderedDict()
        self._making: dict[str, asyncio.Task[Preview | Refused]] = {}

    async def close(self) -> None:
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)
        await self._fetch.close()

    async def get(self, url: str) -> Preview | Refused:
        """The OpenGraph data of `url`, perhaps empty, with its picture as an mxc:// URI."""
        if len(url) > MAX_URL:
            return Refused(Why.INVALID, "The URL is too long")
        try:
            target = yarl.URL(url).with_fragment(None)
            refused = self._fetch.why_not(target)
        except ValueError:
            return Refused(Why.INVALID, "Not a URL")
        if refused is not None:
            return refused
        key = str(target)
        kept = self._kept.get(key)
        if kept is not None and kept[0] > self._clock.monotonic():
            return kept[1]
        making = self._making.get(key)
        if making is None:
            if len(self._making) >= MAX_AT_ONCE:
                return Refused(Why.BUSY, "Too many previews are being made")
            making = asyncio.create_task(self._make(key))
            self._making[key] = making
            making.add_done_callback(lambda _: self._making.pop(key, None))
        return await asyncio.shield(making)

    async def _make(self, url: str) -> Preview | Refused:
        fetched = await self._fetch.get(url, self._max_bytes, ACCEPT_PAGE)
        if isinstance(fetched, Refused):
            return fetched
        if fetched.content_type.startswith("image/"):
            preview: Preview = {"og:url": fetched.url} | await self._picture(fetched)
        elif fetched.content_type in HTML_TYPES:
            preview = dict(await asyncio.to_thread(read_page, fetched.data, fetched.charset))
            preview |= await self._picture_of_page(fetched.url, preview)
        else:
            preview = {}
        self._keep(url, preview)
        return preview

    async def _picture_of_page(self, base: str, preview: Preview) -> Preview:
        """Fetch og:image. What the page said of it is dropped from `preview`: only what was seen is told."""
        address = preview.pop("og:image", None) or preview.pop("og:image:url", None)
        for name in [name for name in preview if name.startswith("og:image")]:
            del preview[name]
        if not address:
            return {}
        try:
            target = yarl.URL(base).join(yarl.URL(address)).with_fragment(None)
        except ValueError:
            return {}
        fetched = await self._fetch.get(str(target), self._max_bytes, ACCEPT_PICTURE)
        return {} if isinstance(fetched, Refused) else await self._picture(fetched)

    async def _picture(self, fetched: Fetched) -> Preview:
        facts: PictureFacts | None = await asyncio.to_thread(facts_of, io.BytesIO(fetched.data))
        if facts is None:
            return {}
        stored = await self._repository.upload(
            SERVER,
            _once(fetched.data),
            announced=len(fetched.data),
            content_type=facts.content_type,
            file_name=None,
        )
        if not isinstance(stored, StoredFile):
            return {}
        return {
            "og:image": self._repository.uri(stored.media_id),
            "og:image:type": facts.content_type,
            "og:image:width": facts.width,
            "og:image:height": facts.height,
            "matrix:image:size": stored.size,
        }

    def _keep(self, url: str, preview: Preview) -> None:
        self._kept[url] = (self._clock.monotonic() + KEEP_SECONDS, preview)
        self._kept.move_to_end(url)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
