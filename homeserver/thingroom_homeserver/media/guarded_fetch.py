"""Fetching what a stranger named, without letting the stranger reach into the network that this server stands in.

May import aiohttp. Names are resolved here and only permitted addresses are handed on; the address that is about to be
connected to is looked at once more, whichever way it came about; every redirect starts from the beginning. Sizes,
times, redirects and ports are limited. No cookies, no proxies of the environment, no compression asked for.
Sources: RFC 6890 (special addresses); OWASP, "Server-Side Request Forgery Prevention". Next: previews.py.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import yarl
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from thingroom_homeserver.media.outcomes import Refused, Why

MAX_REDIRECTS = 5
MAX_URL = 4000
TOTAL_SECONDS = 15.0
USER_AGENT = "Mozilla/5.0 (compatible; Thingroom; URL preview)"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_EMBEDDING = tuple(
    ipaddress.IPv6Network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32", "::/96")
)
"""IPv6 networks whose addresses stand for IPv4 addresses, by translation or in tunnels."""
_MORE_IPV4 = tuple(ipaddress.IPv4Network(text) for text in ("192.88.99.0/24", "100.64.0.0/10", "192.0.0.0/24"))


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answer to a GET: where it came from in the end, its type, and its bytes."""

    url: str
    content_type: str
    charset: str | None
    data: bytes


def is_permitted(address: str, permitted: Sequence[Network]) -> bool:
    """Whether the server may connect to `address`: one of the internet's, or in one of the `permitted` networks."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if any(ip in network for network in permitted):
        return True
    if isinstance(ip, ipaddress.IPv6Address):
        return (
            ip.is_global
            and not (ip.is_multicast or ip.is_reserved or ip.is_site_local)
            and not any(ip in network for network in _EMBEDDING)
        )
    return ip.is_global and not (ip.is_multicast or ip.is_reserved) and not any(ip in network for network in _MORE_IPV4)


class _GuardedResolver(AbstractResolver):
    """Gives only addresses that may be connected to. Raises OSError when none is left."""

    def __init__(self, permitted: Sequence[Network], resolver: AbstractResolver) -> None:
        self._permitted = permitted
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        allowed = [result for result in results if is_permitted(result["host"], self._permitted)]
        if not allowed:
            raise OSError(f"{host} has no address that may be reached")
        return allowed

    async def close(self) -> None:
        await self._resolver.close()


class GuardedFetch:
    """GET requests to permitted addresses and ports. `close` when done."""

    def __init__(
        self, permitted: Sequence[Network], ports: Sequence[int], *, resolver: AbstractResolver | None = None
    ) -> None:
        self._permitted = tuple(permitted)
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
                data = await _at_most(response, max_bytes)
                if data is None:
                    return Refused(Why.UNREACHABLE, "What is there is too large")
                return Fetched(str(url), response.content_type, response.charset, data)
        return Refused(Why.UNREACHABLE, "The address redirects too often")

    def _started(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=_GuardedResolver(self._permitted, self._resolver or ThreadedResolver()),
                socket_factory=self._socket,
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

    def _socket(self, info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        """The socket for a connection that is about to be made; the last look at where it goes."""
        family, kind, protocol, _, address = info
        if not is_permitted(str(address[0]), self._permitted):
            raise OSError("the address may not be reached")
        return socket.socket(family, kind, protocol)


async def _at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, or None if it is longer."""
    if response.content_length is not None and response.content_length > max_bytes:
        return None
    data = bytearray()
    async for chunk in response.content.iter_any():
        data += chunk
        if len(data) > max_bytes:
            return None
    return bytes(data)
