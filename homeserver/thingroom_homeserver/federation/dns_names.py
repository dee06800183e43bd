"""Looking names up without a thread waiting for each: addresses and SRV records by dnspython, and the hosts file.

May import dnspython. A thread pool would be full of the names of servers that are gone. Answers are kept for as long
as their records say. Implements the port `Names` of discovery.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import dns.asyncresolver
import dns.exception
import dns.rdatatype
import dns.resolver

from thingroom_homeserver.federation.discovery import Service

LOOKUP_SECONDS = 10.0
MAX_CACHED = 10_000
HOSTS_FILE = Path("/etc/hosts")


class DnsNames:
    """The name servers of /etc/resolv.conf, or of a `resolver` that is handed in."""

    def __init__(
        self,
        resolver: dns.asyncresolver.Resolver | None = None,
        hosts_file: Path = HOSTS_FILE,
        *,
        seconds: float = LOOKUP_SECONDS,
    ) -> None:
        self._resolver = resolver or _system_resolver()
        self._resolver.cache = dns.resolver.LRUCache(MAX_CACHED)
        self._hosts = _read_hosts(hosts_file)
        self._seconds = seconds

    async def services(self, name: str) -> Sequence[Service]:
        """The SRV records of `name`; none also where they cannot be looked up."""
        try:
            answer = await self._resolver.resolve(name + ".", "SRV", lifetime=self._seconds)
        except (dns.exception.DNSException, OSError, UnicodeError):
            return ()
        return [
            Service(record.priority, record.weight, record.target.to_text(omit_final_dot=False), record.port)
            for record in answer
        ]

    async def addresses(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        """The addresses of `host`, IPv6 ones first, each with `port`. Raises OSError where there are none."""
        addresses = self._hosts.get(host.lower().rstrip("."))
        if addresses is None:
            found = await asyncio.gather(self._records(host, "AAAA"), self._records(host, "A"))
            addresses = [address for records in found for address in records]
        if not addresses:
            raise OSError(f"{host} has no address")
        return [(address, port) for address in addresses]

    async def _records(self, host: str, kind: str) -> list[str]:
        try:
            answer = await self._resolver.resolve(host.rstrip(".") + ".", kind, lifetime=self._seconds)
        except (dns.exception.DNSException, OSError, UnicodeError):
            return []
        return [record.address for record in answer]


def _system_resolver() -> dns.asyncresolver.Resolver:
    try:
        return dns.asyncresolver.Resolver()
    except dns.resolver.NoResolverConfiguration:
        return dns.asyncresolver.Resolver(configure=False)  # a machine off the network: every look-up fails


def _read_hosts(path: Path) -> dict[str, list[str]]:
    """Names and their addresses. "localhost" is this machine whatever the file says (RFC 6761)."""
    found: dict[str, list[str]] = {}
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        address, *names = line.partition("#")[0].split() or [""]
        for name in names:
            found.setdefault(name.lower(), []).append(address.partition("%")[0])
    found["localhost"] = ["127.0.0.1", "::1"]
    return found
