"""How the gateway is: broker, homeserver, outbox, disk; and what was rejected at which door.

May import site, sign_in, storage, reasons.
"""

from __future__ import annotations

import platform
import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from thingroom_gateway.dashboard.reasons import door_of, in_words
from thingroom_gateway.dashboard.rejections import Rejection
from thingroom_gateway.dashboard.site import VISITOR, Site
from thingroom_gateway.status import Status
from thingroom_gateway.storage import dashboard as store
from thingroom_gateway.storage import outbox

MAX_PARKED: Final = 20
LOW_DISK_BYTES: Final = 500_000_000


class Link(msgspec.Struct, frozen=True):
    """A connection or listener: `state` is good, bad or off."""

    name: str
    where: str
    state: str
    text: str


class Shown(msgspec.Struct, frozen=True):
    """How the gateway is, and what of that somebody should look after, in sentences."""

    trouble: Sequence[str]
    status: Status
    links: Sequence[Link]
    homeserver: Link
    last_in_room: int
    commands_waiting: int
    live_pages: int
    versions: dict[str, str]


class Count(msgspec.Struct, frozen=True):
    """How many messages came to nothing at `door`, and why."""

    door: str
    reason: str
    words: str
    number: int


class Recent(msgspec.Struct, frozen=True):
    """A message that was rejected; `device` is empty where nobody knows whose it was."""

    at: int
    door: str
    words: str
    device: str
    name: str


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = StatusPages(site)
    return [
        web.get("/status", pages.status),
        web.post("/status/retry", pages.retry),
        web.get("/rejected", pages.rejected),
        web.get("/api/status", pages.status_data),
        web.get("/api/rejected", pages.rejected_data),
    ]


class StatusPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._parts = site.parts
        self._tools = site.tools

    async def status(self, request: web.Request) -> web.StreamResponse:
        owner = await self._tools.people.is_owner(request[VISITOR].person)
        parked = self._tools.database.read(lambda connection: store.parked(connection, MAX_PARKED)) if owner else []
        return self._site.page(request, "status.html", shown=await self._status(), parked=parked, is_owner=owner)

    async def status_data(self, request: web.Request) -> web.StreamResponse:
        return self._site.data(await self._status())

    async def retry(self, request: web.Request) -> web.StreamResponse:
        visitor = request[VISITOR]
        if not await self._tools.people.is_owner(visitor.person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        number = await self._tools.database.write(outbox.unpark)
        self._parts.retry()
        return self._site.back(visitor, "/status", f"{number} messages are tried again.")

    async def rejected(self, request: web.Request) -> web.StreamResponse:
        counts, recent = await self._rejected(request)
        return self._site.page(request, "rejected.html", counts=counts, recent=recent)

    async def rejected_data(self, request: web.Request) -> web.StreamResponse:
        counts, recent = await self._rejected(request)
        return self._site.data({"counts": counts, "recent": recent})

    async def _rejected(self, request: web.Request) -> tuple[list[Count], list[Recent]]:
        """Counts of all; of single messages those that nobody knows a device of, and those of the visitor's devices."""
        visible = {
            device.kid_hex: device.row.name for device in await self._site.access.devices(request[VISITOR].person)
        }
        recent = [
            _recent(one, visible.get(one.kid, ""))
            for one in self._site.rejections.newest()
            if not one.kid or one.kid in visible
        ]
        return counts_of(self._parts.counters.all()), recent

    async def _status(self) -> Shown:
        parts, tools = self._parts, self._tools
        status = await parts.overview.status(tools.database)
        in_room = await tools.database.read_in_thread(store.last_in_room)
        health = await self._site.matrix.health()
        answers = health.milliseconds is not None
        homeserver = Link(
            tools.home.server_name,
            status.homeserver.url,
            "good" if answers else "bad",
            f"answers in {health.milliseconds} ms" if answers else f"does not answer ({health.why})",
        )
        links = links_of(status)
        return Shown(
            trouble=trouble_of(status, links, homeserver),
            status=status,
            links=links,
            homeserver=homeserver,
            last_in_room=in_room or 0,
            commands_waiting=sum(len(parts.queue.waiting(d)) for d in tools.registry if d.profile.actuators),
            live_pages=len(self._site.live),
            versions={
                "Thingroom": status.version,
                "Python": platform.python_version(),
                "SQLite": sqlite3.sqlite_version,
            },
        )


def links_of(status: Status) -> list[Link]:
    """The ways by which readings come. Pure."""
    found = []
    for broker in status.brokers:
        name = "MQTT broker" if broker.devices == "signed" else "MQTT broker of plain devices"
        state = "good" if broker.connected else "bad"
        found.append(Link(name, broker.address, state, "connected" if broker.connected else "not connected"))
    if status.coap:
        found.append(Link("CoAP", status.coap, "good", "listens"))
    if status.serial_wanted:
        text = ", ".join(status.serial_open) or "no board is plugged in"
        where = ", ".join(status.serial_wanted)
        found.append(Link("Serial lines", where, "good" if status.serial_open else "off", text))
    return found


def trouble_of(status: Status, links: Sequence[Link], homeserver: Link) -> list[str]:
    """What somebody should look after. Pure."""
    found = []
    if status.stalled:
        found.append("The disk does not take readings. Devices keep them meanwhile.")
    if status.disk_free < LOW_DISK_BYTES:
        found.append("The disk is nearly full.")
    found += [f"{link.name} at {link.where}: {link.text}." for link in links if link.state == "bad"]
    if homeserver.state == "bad":
        found.append(f"The homeserver {homeserver.text}. What is for it waits.")
    if status.outbox_parked:
        found.append(f"The homeserver refused {status.outbox_parked} messages; they are kept aside.")
    if status.needs_restart:
        found.append(f"Changed in the configuration, and in use after a restart: {', '.join(status.needs_restart)}.")
    return found


def counts_of(counters: dict[str, int]) -> list[Count]:
    """What the counters say of messages that came to nothing, the most frequent first. Pure."""
    found = []
    for name, number in counters.items():
        door, _, rest = name.partition(".")
        kind, _, reason = rest.partition(".")
        if kind in ("rejected", "refused") and reason and number:
            found.append(Count(door_of(door), reason, in_words(reason), number))
    return sorted(found, key=lambda one: -one.number)


def _recent(one: Rejection, name: str) -> Recent:
    return Recent(one.at, door_of(one.transport), in_words(one.reason), one.kid, name)
