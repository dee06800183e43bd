"""The stream of server-sent events that keeps a page up to date: pieces of HTML by the id of their element.

Events: `piece` (JSON: id, html), `stale` (load the page anew). A comment every quarter of a minute shows that the line
is up; the session and what may be seen are looked at again then. May import site, live.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from thingroom_gateway.bot.people import NotNow
from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.live import Kind, Watcher
from thingroom_gateway.dashboard.pages_devices import ON_PAGE, selected
from thingroom_gateway.dashboard.site import VISITOR, Site

HEARTBEAT_SECONDS: Final = 15.0
# How soon it is noticed that a browser has gone, and its place given to others.
GONE_SECONDS: Final = 1.0
# A browser that takes nothing for so long is gone.
SEND_SECONDS: Final = 30.0


def routes(site: Site) -> Sequence[web.RouteDef]:
    return [web.get("/live", LivePages(site).stream, allow_head=False)]


class LivePages:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """`?device=`, `?pairing=1`, or as the overview: `?find=` and `?page=`."""
        visitor = request[VISITOR]
        kind, wanted = await self._wanted(request)
        watcher = Watcher(kind, wanted)
        if not self._site.live.join(watcher, visitor.person):
            return self._site.problem(request, 429, "Too many pages are open with live values.")
        response = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no", "Cache-Control": "no-store"}
        )
        try:
            await response.prepare(request)
            await self._send(response, "retry: 3000\n\n")
            loop = asyncio.get_running_loop()
            next_look = loop.time() + HEARTBEAT_SECONDS
            while not watcher.closed and request.transport is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(GONE_SECONDS):
                        await watcher.wake.wait()
                if loop.time() >= next_look:
                    if not await self._may_go_on(request, watcher):
                        break
                    next_look = loop.time() + HEARTBEAT_SECONDS
                    await self._send(response, ":\n\n")
                pieces, stale = watcher.take()
                events = [_event("piece", {"id": name, "html": html}) for name, html in pieces.items()]
                if stale:
                    events.append(_event("stale", {}))
                if events:
                    await self._send(response, "".join(events))
        except (ConnectionError, TimeoutError):
            pass
        finally:
            self._site.live.leave(watcher)
        return response

    async def _wanted(self, request: web.Request) -> tuple[Kind, frozenset[int]]:
        """What the page of this stream shows. Raises Bad, HTTPNotFound, HTTPForbidden, NotNow."""
        person = request[VISITOR].person
        if "device" in request.query:
            kid = request.query["device"]
            if len(kid) != 16 or set(kid) - set("0123456789abcdef"):
                raise parameters.Bad("There is no such device.")
            device = await self._site.access.device(person, kid)
            if device is None:
                raise web.HTTPNotFound
            return "device", frozenset({device.row.id})
        if "pairing" in request.query:
            if not await self._site.tools.people.is_owner(person):
                raise web.HTTPForbidden
            return "pairing", frozenset()
        chosen, _ = await selected(self._site, person, parameters.search(request.query))
        number = parameters.number(request.query, "page", 1, 10_000, 1)
        shown = chosen[(number - 1) * ON_PAGE : number * ON_PAGE]
        return "cards", frozenset(device.row.id for device in shown)

    async def _may_go_on(self, request: web.Request, watcher: Watcher) -> bool:
        """Whether the visitor is still signed in and may still see the same."""
        if self._site.sessions.still(request[VISITOR].digest) is None:
            return False
        try:
            _, wanted = await self._wanted(request)
        except NotNow:
            return True
        except (parameters.Bad, web.HTTPException):
            return False
        if wanted != watcher.wanted:
            watcher.wanted = wanted
            watcher.turn_stale()
        return True

    @staticmethod
    async def _send(response: web.StreamResponse, text: str) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await response.write(text.encode())


def _event(name: str, data: dict[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"
