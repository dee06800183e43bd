"""Which addresses the server connects to when somebody else names the URL: public ones, and those that are permitted.

The address is checked as the socket is made, after every name is resolved, so neither an odd spelling of an address
nor a name that changes its mind reaches the private network. May import aiohttp only. Used by push/gateway.py.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Iterable
from typing import Any

import aiohttp

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 addresses behind a translator (RFC 6052)."""


class PermittedAddresses:
    """Public addresses and the ranges that the configuration names, such as "10.0.0.0/8" or "::1"."""

    def __init__(self, ranges: Iterable[str] = ()) -> None:
        """Raises ValueError for what is not an address range."""
        self._networks = tuple(ipaddress.ip_network(text, strict=False) for text in ranges)

    def allows(self, host: str) -> bool:
        """Whether to connect to an address, in the form that sockets use. False for what is not an address."""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        inner = _inner(address)
        if any(one in network for network in self._networks for one in (address, inner)):
            return True
        return inner.is_global and not inner.is_multicast and not inner.is_reserved


def guarded_connector(permitted: PermittedAddresses) -> aiohttp.TCPConnector:
    """Connections to permitted addresses only; to others they fail like any that cannot be made."""

    def make_socket(info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        if not permitted.allows(str(address[0])):
            raise OSError(errno.EACCES, "the address is not permitted")
        return socket.socket(family, kind, protocol)

    return aiohttp.TCPConnector(socket_factory=make_socket)


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address only wraps, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
