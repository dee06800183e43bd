"""The overview of all devices, and the page of one, for people and as JSON.

May import site, facts, parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from aiohttp import web

from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.site import VISITOR, Site
from thingroom_gateway.devices import ACTIVE, Device

KID: Final = "{kid:[0-9a-f]{16}}"
ON_PAGE: Final = 120


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = DevicePages(site)
    return [
        web.get("/", pages.overview),
        web.get(f"/device/{KID}", pages.device),
        web.get("/api/devices", pages.overview_data),
        web.get(f"/api/devices/{KID}", pages.device_data),
    ]


class DevicePages:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def overview(self, request: web.Request) -> web.StreamResponse:
        visitor, find = request[VISITOR], parameters.search(request.query)
        chosen, everything = await selected(self._site, visitor.person, find)
        pages = max(1, -(-len(chosen) // ON_PAGE))
        number = parameters.number(request.query, "page", 1, pages, 1)
        cards = await self._site.facts.cards(chosen[(number - 1) * ON_PAGE : number * ON_PAGE])
        places = [(place, list(group)) for place, group in groupby(cards, key=lambda card: card.place)]
        return self._site.page(
            request,
            "overview.html",
            places=places,
            find=find,
            number=number,
            pages=pages,
            total=len(chosen),
            everything=everything,
            may_pair=await self._site.tools.people.is_owner(visitor.person),
        )

    async def overview_data(self, request: web.Request) -> web.StreamResponse:
        find = parameters.search(request.query)
        chosen, _ = await selected(self._site, request[VISITOR].person, find)
        pages = max(1, -(-len(chosen) // ON_PAGE))
        number = parameters.number(request.query, "page", 1, pages, 1)
        cards = await self._site.facts.cards(chosen[(number - 1) * ON_PAGE : number * ON_PAGE])
        return self._site.data({"devices": cards, "page": number, "pages": pages})

    async def device(self, request: web.Request) -> web.StreamResponse:
        device, person = await self._site.device_of(request), request[VISITOR].person
        people = self._site.tools.people
        detail = await self._site.facts.detail(device)
        span = parameters.span(request.query)
        return self._site.page(
            request,
            "device.html",
            device=device,
            detail=detail,
            charts=[(name, device.profile.quantities[name]) for name in detail.quantities],
            span=span,
            spans=parameters.SPAN_TITLES,
            may_change=await people.may_change(person, device.row.place),
            is_owner=await people.is_owner(person),
            places=await places_of(self._site, person),
        )

    async def device_data(self, request: web.Request) -> web.StreamResponse:
        return self._site.data(await self._site.facts.detail(await self._site.device_of(request)))


async def selected(site: Site, person: str, find: str) -> tuple[list[Device], int]:
    """The devices on the overview, in its order, and how many there would be without a search."""
    devices = [device for device in await site.access.devices(person) if device.row.status == ACTIVE]
    if not find:
        return devices, len(devices)
    return [
        device
        for device in devices
        if find in device.row.name.casefold()
        or find in device.row.place.casefold()
        or find in device.profile.title.casefold()
        or device.kid_hex.startswith(find)
    ], len(devices)


async def places_of(site: Site, person: str) -> list[str]:
    """The places that `person` may know of, for suggestions."""
    return sorted({device.row.place for device in await site.access.devices(person)}, key=str.casefold)[:200]
