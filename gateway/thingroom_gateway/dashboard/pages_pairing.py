"""Letting devices in: the pairing window with its QR code, what was paired lately, plain MQTT devices that were heard.

For the owner. May import site, pairing, segno.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
import segno
from aiohttp import web

from thingroom_gateway.bot.commands.devices_in_and_out import answer_end_pairing
from thingroom_gateway.bot.conversation import Where
from thingroom_gateway.bot.requests import EndPairing
from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.pages_devices import places_of
from thingroom_gateway.dashboard.site import VISITOR, Site, form_of
from thingroom_gateway.dashboard.view import Card
from thingroom_gateway.devices import ACTIVE
from thingroom_gateway.plain.devices import NotAdopted

MINUTES: Final = (5, 10, 30, 60)
NEW_MS: Final = 60 * 60 * 1000
MAX_SEEN: Final = 50
_NOT_ADOPTED: Final = {
    "adopted": "This device is adopted already.",
    "not_seen": "No device was heard there yet.",
    "no_profile": "No profile understands what it tells.",
    "unknown_profile": "There is no such profile.",
    "bad_name": "A name or place has 1 to 64 letters, digits or signs.",
    "too_many_devices": "There are as many devices as the configuration allows.",
}


class Window(msgspec.Struct, frozen=True):
    """The open window: the code, and until when (Unix ms)."""

    code: str
    until: int


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = PairingPages(site)
    return [
        web.get("/pair", pages.show),
        web.post("/pair", pages.open),
        web.post("/pair/close", pages.close),
        web.post("/pair/adopt", pages.adopt),
        web.get("/api/pairing", pages.data),
    ]


class PairingPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._tools = site.tools

    async def show(self, request: web.Request) -> web.StreamResponse:
        person = request[VISITOR].person
        if not await self._tools.people.is_owner(person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        window = self._window()
        plain = self._site.parts.plain
        seen = [one for one in plain.list_seen() if not one["adopted_as"]] if plain is not None else []
        return self._site.page(
            request,
            "pair.html",
            window=window,
            code=_picture(window.code) if window is not None else "",
            minutes=MINUTES,
            fresh=await self._fresh(),
            places=await places_of(self._site, person),
            listens=plain is not None,
            seen=seen[:MAX_SEEN],
            more_seen=max(0, len(seen) - MAX_SEEN),
            profiles=sorted(self._tools.enrolment.profile_names),
        )

    async def data(self, request: web.Request) -> web.StreamResponse:
        if not await self._tools.people.is_owner(request[VISITOR].person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        return self._site.data({"window": self._window(), "paired": await self._fresh()})

    async def open(self, request: web.Request) -> web.StreamResponse:
        fields, visitor = await form_of(request), request[VISITOR]
        minutes = parameters.number(fields, "minutes", 1, 60, 10)
        if not await self._tools.people.is_owner(visitor.person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        self._tools.pairing.open(minutes)
        return web.Response(status=303, headers={"Location": "/pair"})

    async def close(self, request: web.Request) -> web.StreamResponse:
        visitor = request[VISITOR]
        if not await self._tools.people.is_owner(visitor.person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        answer = await answer_end_pairing(EndPairing(), Where("", "", visitor.person, None, []), self._tools)
        for write in answer.writes:
            await self._tools.database.write(write)
        return self._site.back(visitor, "/pair", answer.text)

    async def adopt(self, request: web.Request) -> web.StreamResponse:
        fields, visitor, plain = await form_of(request), request[VISITOR], self._site.parts.plain
        topic, name = parameters.text(fields, "topic", 512), parameters.text(fields, "name")
        place, profile = fields.get("place", "").strip(), fields.get("profile", "").strip()
        if not await self._tools.people.is_owner(visitor.person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        if plain is None:
            raise parameters.Bad("No plain MQTT devices are listened for.")
        result = await plain.adopt(topic, name, place, profile)
        if isinstance(result, NotAdopted):
            return self._site.back(visitor, "/pair", _NOT_ADOPTED.get(result.reason, result.reason), done=False)
        return self._site.back(visitor, "/pair", f"{result.device.row.name} is taken in.")

    def _window(self) -> Window | None:
        opened = self._tools.pairing.current()
        if opened is None:
            return None
        left = opened.until - self._site.parts.monotonic()
        return Window(opened.code, self._tools.now_ms() + int(left * 1000))

    async def _fresh(self) -> list[Card]:
        """The devices that were paired within the last hour, newest first."""
        since = self._tools.now_ms() - NEW_MS
        devices = [d for d in self._tools.registry if d.row.enrolled_at >= since and d.row.status == ACTIVE]
        return await self._site.facts.cards(sorted(devices, key=lambda device: -device.row.id)[:MAX_SEEN])


def _picture(code: str) -> str:
    """The QR code as an SVG in a data: URL. Without spaces, as scanners hand it over."""
    options: dict[str, Any] = {"scale": 6, "border": 4, "dark": "#000", "light": "#fff"}
    made = segno.make(code.replace(" ", ""), error="m", micro=False)
    return str(made.svg_data_uri(**options))
