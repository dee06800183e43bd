"""Which addresses the server connects to when somebody else names them: the internet's, and those that are permitted.

May import aiohttp only. Whoever asks what a user, a client or another server named does it through a guarded connector:
only permitted addresses come out of the resolver, and the one that is about to be connected to is looked at once more,
whichever way it came about. So neither an odd spelling, nor a redirect, nor a name that changes its mind reaches the
private network. What the configuration names itself (application services, CAS, mail) needs no guard.
Sources: RFC 6890 (special addresses), RFC 6052; OWASP, "Server-Side Request Forgery Prevention".
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses behind a translator: how hosts without IPv4 reach the rest (RFC 6052)."""
_NOT_THE_INTERNETS = tuple(
    ipaddress.ip_network(text)
    for text in (
        "192.88.99.0/24",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
    )
)
"""Relays, shared space, and IPv6 networks whose addresses stand for IPv4 addresses in tunnels."""


class Guard:
    """Addresses of the internet, and the ranges that the configuration names, such as "10.0.0.0/8" or "::1"."""

    def __init__(self, permitted_ranges: Iterable[str] = ()) -> None:
        """Raises ValueError for what is not an address range."""
        self._permitted = tuple(ipaddress.ip_network(text, strict=False) for text in permitted_ranges)

    def permits(self, address: str) -> bool:
        """Whether to connect to an address, in the form that sockets use. False for what is not an address."""
        try:
            ip = _plain(ipaddress.ip_address(address.partition("%")[0]))
        except ValueError:
            return False
        if any(ip in network for network in self._permitted):
            return True
        if isinstance(ip, ipaddress.IPv6Address) and ip.is_site_local:
            return False
        return (
            ip.is_global
            and not (ip.is_multicast or ip.is_reserved)
            and not any(ip in network for network in _NOT_THE_INTERNETS)
        )


def _plain(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only writes otherwise, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class _GuardedResolver(AbstractResolver):
    """Gives only addresses that may be connected to. Raises OSError when none is left."""

    def __init__(self, guard: Guard, resolver: AbstractResolver) -> None:
        self._guard = guard
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results = await self._resolver.resolve(host, port, family)
        permitted = [result for result in results if self._guard.permits(result["host"])]
        if not permitted:
            raise OSError(errno.EACCES, f"{host} has no address that may be reached")
        return permitted

    async def close(self) -> None:
        await self._resolver.close()


def guarded_connector(
    guard: Guard, *, resolver: AbstractResolver | None = None, tls: ssl.SSLContext | None = None, **limits: Any
) -> aiohttp.TCPConnector:
    """Connections to permitted addresses only; to others they fail like any that cannot be made (ClientConnectorError).

    Give the session `trust_env=False` (its default): a proxy would resolve names itself. `tls`: see tls.py. `limits`
    are TCPConnector's. To be made where a loop runs.
    """

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not guard.permits(str(address[0])):
            raise OSError(errno.EACCES, "the address is not permitted")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(
        resolver=_GuardedResolver(guard, resolver or ThreadedResolver()),
        socket_factory=make_socket,
        ssl=tls if tls is not None else True,
        **limits,
    )
