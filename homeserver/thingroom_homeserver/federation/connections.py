"""Sockets to other servers: TLS that is always verified, permitted addresses only, and connections that are kept.

May import aiohttp and outgoing. The address is checked as the socket is made, after every look-up, redirect
and SRV record. client.py and well_known.py use the session.
"""

from __future__ import annotations

import socket
import ssl

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from thingroom_homeserver.federation.discovery import Names
from thingroom_homeserver.outgoing.body import body_at_most
from thingroom_homeserver.outgoing.guard import Guard, guarded_connector

CONNECT_SECONDS = 10.0
KEEP_SECONDS = 60.0
PER_DESTINATION = 16
"""Requests under way to one server. There is no limit for all of them together: a slow one must not delay others."""
USER_AGENT = "Thingroom"


def open_session(names: Names, guard: Guard, tls: ssl.SSLContext | None) -> aiohttp.ClientSession:
    """A session for requests to other servers, which trusts `tls` (None: the system's authorities). Close it when done.

    What is encoded (gzip) is not asked for: it would have to be unpacked before its size is known.
    """

    connector = guarded_connector(
        guard,
        resolver=_Resolver(names),
        tls=tls,
        use_dns_cache=False,
        limit=0,
        limit_per_host=PER_DESTINATION,
        keepalive_timeout=KEEP_SECONDS,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        skip_auto_headers=("Accept-Encoding",),
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS),
    )


async def read_at_most(response: aiohttp.ClientResponse, max_bytes: int) -> bytes | None:
    """The body, or None if it is longer or in an encoding that was not asked for."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        return None
    return await body_at_most(response, max_bytes)


class _Resolver(AbstractResolver):
    """What aiohttp asks for addresses."""

    def __init__(self, names: Names) -> None:
        self._names = names

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=at_port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address, at_port in await self._names.addresses(host, port)
        ]

    async def close(self) -> None:
        pass
