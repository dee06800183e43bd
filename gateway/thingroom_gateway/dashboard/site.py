"""What all pages share: templates, static files, sessions, who may see what, and how an answer is made.

May import aiohttp, Jinja2, and the modules of this folder but for the pages. server.py makes one Site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import jinja2
import msgspec
from aiohttp import web

from thingroom_gateway.alerts.texts import shown_duration, shown_time
from thingroom_gateway.dashboard.access import Access
from thingroom_gateway.dashboard.facts import Facts
from thingroom_gateway.dashboard.live import Live, Pieces
from thingroom_gateway.dashboard.parameters import Bad, form_fields
from thingroom_gateway.dashboard.parts import Parts
from thingroom_gateway.dashboard.rejections import Rejections
from thingroom_gateway.dashboard.sessions import Said, Sessions, Visitor
from thingroom_gateway.dashboard.sign_in import Matrix
from thingroom_gateway.dashboard.view import Card, Control, Detail
from thingroom_gateway.devices import Device

REFRESH: Final = "Thingroom-Refresh"
SESSION: Final = "thingroom_session"
VISITOR: Final = web.RequestKey("visitor", Visitor)
FORM: Final = web.RequestKey("form", dict[str, str])
_COUNTED: Final = {
    400: "bad_request",
    401: "not_signed_in",
    403: "not_allowed",
    404: "no_such_page",
    405: "wrong_method",
    413: "too_large",
    414: "too_large",
    429: "too_often",
}
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_FOLDER: Final = Path(__file__).parent
_TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file that browsers load, in memory."""

    data: bytes
    content_type: str
    etag: str


class Site:
    """The parts of the gateway, and what pages need beside them. Made while a loop runs."""

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.tools = parts.tools
        self.config = parts.config.dashboard
        self.sessions = Sessions(parts.tools.database, self.config.session_days, parts.tools.now_ms)
        self.access = Access(parts.tools)
        self.facts = Facts(parts)
        self.rejections = Rejections(parts.tools.now_ms)
        self.static = _load_static()
        self._templates = _templates(self)
        self.live = Live(self.facts, parts.tools.registry, self.config.streams, self._draw_card, self._draw_detail)
        self.matrix = Matrix(parts.config.homeserver_url, parts.tools.home.server_name, parts.monotonic)

    @property
    def is_https(self) -> bool:
        return self.config.url.startswith("https:")

    # --- answers -------------------------------------------------------------------------------------------------

    def page(self, request: web.Request, template: str, status: int = 200, **data: Any) -> web.Response:
        """A page of HTML. What was to be told to the visitor is told on it."""
        visitor = request.get(VISITOR)
        # A page that is only refreshed in place has said it already, or belongs to a form that was just left.
        said = self.sessions.take_said(visitor) if visitor is not None and REFRESH not in request.headers else None
        html = self._templates.get_template(template).render(
            home=self.tools.home.name, visitor=visitor, said=said, path=request.path, **data
        )
        return web.Response(text=html, content_type="text/html", charset="utf-8", status=status)

    @staticmethod
    def data(value: Any, status: int = 200) -> web.Response:
        """The same as JSON."""
        return web.Response(body=msgspec.json.encode(value), content_type="application/json", status=status)

    def problem(self, request: web.Request, status: int, sentence: str) -> web.Response:
        """Something that did not work, with the reason: a page, or JSON below /api. It is counted."""
        if status in _COUNTED:
            self.count(_COUNTED[status])
        if request.path.startswith(("/api/", "/live")):
            return self.data({"error": sentence}, status)
        return self.page(request, "problem.html", status, sentence=sentence, status_code=status)

    def count(self, word: str) -> None:
        """Somebody asked for what we do not give; `word` is one of our own."""
        self.parts.counters.add(f"dashboard.rejected.{word}")

    def back(self, visitor: Visitor, to: str, text: str, done: bool = True) -> web.Response:
        """After a form: tell what came of it on the page `to`."""
        self.sessions.say(visitor, Said(text, "done" if done else "failed"))
        return web.Response(status=303, headers={"Location": to})

    async def device_of(self, request: web.Request) -> Device:
        """The device that the path names, if the visitor may see it. Raises HTTPNotFound, NotNow."""
        device = await self.access.device(request[VISITOR].person, request.match_info["kid"])
        if device is None:
            raise web.HTTPNotFound
        return device

    # --- pieces --------------------------------------------------------------------------------------------------

    def _draw_card(self, card: Card) -> Pieces:
        return {f"card-{card.id}": str(self._module.card(card))}

    def _draw_detail(self, detail: Detail) -> Pieces:
        kid = detail.card.id
        return {f"now-{kid}": str(self._module.now(detail)), f"commands-{kid}": str(self._module.commands(detail))}

    @property
    def _module(self) -> Any:
        return self._templates.get_template("pieces.html").module


async def form_of(request: web.Request) -> dict[str, str]:
    """The fields of the form that was sent. Raises Bad, HTTPRequestEntityTooLarge, HTTPUnsupportedMediaType."""
    if FORM not in request:
        if request.content_type != _FORM_TYPE and request.can_read_body:
            raise Bad("Only forms are taken here.")
        request[FORM] = form_fields(await request.read())
    return request[FORM]


def _load_static() -> dict[str, StaticFile]:
    found = {}
    for path in sorted((_FOLDER / "static").iterdir()):
        if path.suffix in _TYPES:
            data = path.read_bytes()
            digest = hashlib.sha256(data).hexdigest()[:16]
            found[path.name] = StaticFile(data, _TYPES[path.suffix], f'"{digest}"')
    return found


def _templates(site: Site) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    zone, now_ms = site.tools.zone, site.tools.now_ms

    def clock(ms: int) -> str:
        return shown_time(ms, zone, now_ms())

    def iso(ms: int) -> str:
        return datetime.fromtimestamp(ms / 1000, zone).isoformat(timespec="seconds")

    def static(name: str) -> str:
        return f"/static/{name}?v={site.static[name].etag[1:9]}"

    filters: Mapping[str, Any] = {"clock": clock, "iso": iso, "duration": shown_duration, "query": _query}
    environment.filters.update(filters)
    environment.globals.update(static=static, states=_states)
    return environment


def _states(controls: Sequence[Control]) -> dict[str, str]:
    return {control.name: control.state for control in controls}


def _query(text: str) -> str:
    return quote(text, safe="")
