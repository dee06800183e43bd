"""The pictures of devices, the same that their ghosts have in the rooms.

May import site, pictures (Pillow, hence late and in a thread), icons.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiohttp import web

from thingroom_gateway.dashboard.site import Site
from thingroom_gateway.icons import name_of


def routes(site: Site) -> Sequence[web.RouteDef]:
    return [web.get("/picture/{profile:[a-z0-9_]{1,64}}{attested:(-attested)?}.png", PicturePages(site).picture)]


class PicturePages:
    """Drawn once: there are two for each profile at most."""

    def __init__(self, site: Site) -> None:
        self._profiles = site.parts.profiles
        self._drawn: dict[str, bytes] = {}

    async def picture(self, request: web.Request) -> web.StreamResponse:
        profile = self._profiles.get(request.match_info["profile"])
        if profile is None:
            raise web.HTTPNotFound
        name = name_of(profile.icon, bool(request.match_info["attested"]))
        if name not in self._drawn:
            self._drawn[name] = await asyncio.to_thread(_draw, name)
        headers = {"Cache-Control": "private, max-age=86400"}
        return web.Response(body=self._drawn[name], content_type="image/png", headers=headers)


def _draw(name: str) -> bytes:
    from thingroom_gateway.pictures import draw

    return draw(name)
