"""From a server name to where it is asked: address and port, Host header, and the name that its certificate must bear.

May import core. Names are looked up through the port `Names` (dns_names.py), delegation through `Delegations`
(well_known.py); this file only knows the order of the steps. Source: Server-Server API, "Resolving server names";
RFC 2782 for SRV records. Next: client.py, which connects.
"""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from thingroom_homeserver.core.identifiers import is_valid_server_name

DEFAULT_PORT = 8448
MAX_SERVICES = 10
SERVICE_PREFIXES = ("_matrix-fed._tcp.", "_matrix._tcp.")
"""The second is deprecated, and asked for only where there is no first."""


@dataclass(frozen=True, slots=True)
class Service:
    """One SRV record. The host is "." where the service is decidedly not there."""

    priority: int
    weight: int
    host: str
    port: int


class Names(Protocol):
    """The domain name system, as far as it is needed here."""

    async def services(self, name: str) -> Sequence[Service]:
        """The SRV records of `name`; none also where they cannot be looked up."""
        ...

    async def addresses(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """IP addresses, CNAMEs followed, and the port to connect to there. Raises OSError where there are none."""
        ...


class Delegations(Protocol):
    """What /.well-known/matrix/server says."""

    async def delegate_of(self, host: str) -> str | None:
        """The server name that `host` delegates to; None where it does not, or says nothing that makes sense."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """Where to connect: a host name or IP address (IPv6 without brackets), and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Route:
    """How to ask a server. `targets` are tried in order. `tls_name` is a host name or an IP address."""

    targets: tuple[Target, ...]
    host_header: str
    tls_name: str


@dataclass(frozen=True, slots=True)
class HostAndPort:
    """A server name, taken apart. An IPv6 address has no brackets here."""

    host: str
    port: int | None
    is_literal: bool


def split_server_name(name: str) -> HostAndPort | None:
    """The parts of a server name; None if it is not one, or has a port that cannot be."""
    if not is_valid_server_name(name):
        return None
    if name.startswith("["):
        host, _, rest = name[1:].partition("]")
        port_text = rest.removeprefix(":")
    else:
        host, _, port_text = name.partition(":")
    port = int(port_text) if port_text else None
    if port is not None and not 0 < port <= 65_535:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return HostAndPort(host.lower(), port, is_literal=False)
    return HostAndPort(host, port, is_literal=True)


class Discovery:
    """The steps of "Resolving server names". Nothing is kept here: `names` and `delegations` cache what they learn."""

    def __init__(self, names: Names, delegations: Delegations, *, choose: random.Random | None = None) -> None:
        """`choose` picks among SRV records by their weights."""
        self._names = names
        self._delegations = delegations
        self._choose = choose or random.SystemRandom()

    async def route_to(self, server_name: str) -> Route | None:
        """How to reach `server_name`. None if it is not a server name, or says that it does not federate."""
        name = split_server_name(server_name)
        if name is None:
            return None
        if name.is_literal or name.port is not None:  # 1. an IP literal; 2. an explicit port
            return _direct(name, server_name)
        delegated_name = await self._delegations.delegate_of(name.host)  # 3. delegation by .well-known
        delegated = None if delegated_name is None else split_server_name(delegated_name)
        if delegated_name is None or delegated is None:
            return await self._by_services(name.host, server_name)  # 4. to 6.
        if delegated.is_literal or delegated.port is not None:  # 3.1 an IP literal; 3.2 an explicit port
            return _direct(delegated, delegated_name)
        return await self._by_services(delegated.host, delegated_name)  # 3.3 to 3.5

    async def _by_services(self, host: str, host_header: str) -> Route | None:
        for prefix in SERVICE_PREFIXES:
            services = await self._names.services(prefix + host)
            if services:
                targets = tuple(
                    Target(service.host.rstrip("."), service.port)
                    for service in in_order(services, self._choose)
                    if service.host.rstrip(".") and service.port
                )
                return Route(targets[:MAX_SERVICES], host_header, host) if targets else None
        return Route((Target(host, DEFAULT_PORT),), host_header, host)


def _direct(name: HostAndPort, host_header: str) -> Route:
    return Route((Target(name.host, name.port or DEFAULT_PORT),), host_header, name.host)


def in_order(services: Sequence[Service], choose: random.Random) -> list[Service]:
    """By priority, and among equals at random by weight (RFC 2782, "Usage rules")."""
    ordered: list[Service] = []
    for priority in sorted({service.priority for service in services}):
        waiting = [service for service in services if service.priority == priority]
        while waiting:
            # A weight of zero has a small chance, not none.
            weights = [max(service.weight, 0) + 0.01 for service in waiting]
            chosen = choose.choices(range(len(waiting)), weights)[0]
            ordered.append(waiting.pop(chosen))
    return ordered
