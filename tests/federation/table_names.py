"""The domain name system as a table: the port `Names` of the discovery, for names that end in .test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from thingroom_homeserver.federation.discovery import Service


@dataclass
class TableNames:
    """`where`: a host and a port, and where a connection to them goes instead. What was asked for is in `asked`."""

    where: dict[tuple[str, int], tuple[str, int]] = field(default_factory=dict)
    records: dict[str, Sequence[Service]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def services(self, name: str) -> Sequence[Service]:
        self.asked.append(name)
        return self.records.get(name, ())

    async def addresses(self, host: str, port: int) -> Sequence[tuple[str, int]]:
        self.asked.append(f"{host}:{port}")
        if host == "localhost":
            return [("127.0.0.1", port)]
        try:
            return [self.where[host, port]]
        except KeyError:
            raise OSError(f"{host} has no address") from None
