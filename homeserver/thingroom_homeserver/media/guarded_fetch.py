"""Fetching what a stranger named, without letting the stranger reach into the network that this server stands in.

May import aiohttp and outgoing/guard.py, which decides about addresses; every redirect starts from the
beginning. Sizes, times, redirects and ports are limited. No cookies, no proxies of the environment, no
compression asked for. Next: previews.py.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver

from thingroom_homeserver.media.outcomes import Refused, Why
from thingroom_homeserver.outgoing.body import body_at_most
from thingroom_homeserver.outgoing.guard import Guard, guarded_connector

MAX_REDIRECTS = 5
MAX_URL = 4000
TOTAL_SECONDS = 15.0
USER_AGENT = "Mozilla/5.0 (compatible; Thingroom; URL preview)"

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a GET: where it came from in the end, its type, and its bytes."""

    url: str
    content_type: str
    charset: str | None
    data: bytes


class GuardedFetch:
    """GET requests to permitted addresses and ports. `close` when done."""

    def __init__(
        self,
        guard: Guard,
        ports: Sequence[int],
        *,
        tls: ssl.SSLContext | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._guard = guard
        self._tls = tls
        self._ports = frozenset(ports)
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def get(self, url: str, max_bytes: int, accept: str) -> Fetched | Refused:
        """The content at `url`, at most `max_bytes`, after at most a few redirects."""
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                return await self._follow(url, max_bytes, accept)
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError):
            return Refused(Why.UNREACHABLE, "The address cannot be reached")

    def why_not(self, url: yarl.URL) -> Refused | None:
        """What is wrong with a URL before anything is resolved."""
        if url.scheme not in ("http", "https") or not url.raw_host:
            return Refused(Why.INVALID, "Only http and https addresses have previews")
        if url.port not in self._ports or url.raw_user is not None or url.raw_password is not None:
            return Refused(Why.INVALID, "This address has no preview: it names a port or a user")
        return None

    async def _follow(self, text: str, max_bytes: int, accept: str) -> Fetched | Refused:
        session = self._started()
        url = yarl.URL(text)
        for _ in range(MAX_REDIRECTS + 1):
            refused = self.why_not(url)
            if refused is not None:
                return refused
            headers = {"Accept": accept, "User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
            async with session.get(url, allow_redirects=False, headers=headers) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location is not None:
                    url = url.join(yarl.URL(location[:MAX_URL])).with_fragment(None)
                    continue
                if response.status != 200:
                    return Refused(Why.UNREACHABLE, "The address cannot be reached")
                data = await body_at_most(response, max_bytes)
                if data is None:
                    return Refused(Why.UNREACHABLE, "What is there is too large")
                return Fetched(str(url), response.content_type, response.charset, data)
        return Refused(Why.UNREACHABLE, "The address redirects too often")

    def _started(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = guarded_connector(
                self._guard,
                resolver=self._resolver,
                tls=self._tls,
                use_dns_cache=False,
                force_close=True,
                limit=20,
                limit_per_host=4,
            )
            timeout = aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=5, sock_read=5)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            )
        return self._session
