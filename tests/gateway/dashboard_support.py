"""A person's browser without a screen, for tests of the dashboard: cookies, forms, pages as text."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from tests.gateway.bot_home import BotHome, Person, bot_home, person
from tests.gateway.gateway_support import Thing, eventually
from tests.homeserver.running import PASSWORD

from thingroom_gateway import app


@dataclass(frozen=True)
class Page:
    """What was answered: after redirects, `path` is where it ended."""

    status: int
    text: str
    path: str
    headers: dict[str, str]

    @property
    def words(self) -> str:
        """The text that people read."""
        body = re.sub(r"<(script|style|head).*?</\1>", " ", self.text, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())

    @property
    def data(self) -> Any:
        return json.loads(self.text)

    @property
    def form(self) -> str:
        """The token that the page's forms carry."""
        found = re.search(r'name="form" value="([0-9a-f]{64})"', self.text)
        assert found, self.text
        return found[1]

    @property
    def said(self) -> str:
        found = re.search(r'class="said [a-z]+"[^>]*>([^<]*)<', self.text)
        return html.unescape(found[1]) if found else ""


class Visitor:
    """Somebody with a browser."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url

    async def get(self, path: str, **options: Any) -> Page:
        return await self._ask("GET", path, **options)

    async def post(self, path: str, form: str | None = None, **fields: str) -> Page:
        """Send a form; `form` is its token, None: that of the page "/"."""
        if form is None:
            form = (await self.get("/")).form
        return await self._ask("POST", path, data={"form": form, **fields})

    async def sign_in(self, user: str, password: str = PASSWORD, to: str = "/") -> Page:
        page = await self.get(f"/sign-in?to={to}")
        return await self._ask(
            "POST", "/sign-in", data={"form": page.form, "user": user, "password": password, "to": to}
        )

    async def _ask(self, method: str, path: str, **options: Any) -> Page:
        async with self.session.request(method, self.url + path, **options) as response:
            body = await response.read()
            text = body.decode(errors="replace")
            return Page(response.status, text, response.url.path_qs, dict(response.headers))

    @property
    def cookies(self) -> dict[str, str]:
        return {cookie.key: cookie.value for cookie in self.session.cookie_jar}


@contextlib.asynccontextmanager
async def visitor(gateway: app.Gateway) -> AsyncIterator[Visitor]:
    """A browser that has not been here."""
    assert gateway.dashboard is not None
    jar = aiohttp.CookieJar(unsafe=True)
    async with aiohttp.ClientSession(cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield Visitor(session, f"http://127.0.0.1:{gateway.dashboard.port}")


@dataclass
class Scene:
    """A home with an owner, a member of one room, and the browsers of both."""

    home: BotHome
    kitchen: Thing
    cellar: Thing
    lamp: Thing
    owner: Visitor
    member: Visitor
    people: dict[str, Person]


@contextlib.asynccontextmanager
async def open_scene(directory: Path) -> AsyncIterator[Scene]:
    """All of them signed in; the kitchen's readings 2 and 3 are missing."""
    kitchen, cellar, lamp = Thing(1, "Kitchen"), Thing(2, "<b>Cellar</b>"), Thing(3, "Lamp", "switch")
    async with contextlib.AsyncExitStack() as stack:
        home = await stack.enter_async_context(bot_home(directory))
        owner = await stack.enter_async_context(person(home.homeserver, "owner"))
        member = await stack.enter_async_context(person(home.homeserver, "member"))
        await home.enrol(kitchen, "Kitchen")
        await home.enrol(cellar, "Below & beside")
        await home.enrol(lamp, "Kitchen")
        await home.reading(kitchen, 214, ago_ms=300_000)
        kitchen.sequence += 2
        await home.reading(kitchen, 223)
        await home.reading(cellar, 121)
        rules = "SELECT COUNT(DISTINCT device) FROM alert_rules"
        await eventually(lambda: home.gateway.core.database.read(lambda c: c.execute(rules).fetchone()[0]) == 3, 30)
        room = await owner.room("Kitchen")
        await owner.client.room_invite(room, member.user_id)
        assert await member.room("Kitchen") == room
        browsers = [await stack.enter_async_context(visitor(home.gateway)) for _ in range(2)]
        deadline = time.monotonic() + 30
        # The member is in the room once the gateway has heard of it.
        while (await browsers[1].sign_in("member")).status != 200:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        assert (await browsers[0].sign_in("owner")).status == 200
        yield Scene(home, kitchen, cellar, lamp, *browsers, people={"owner": owner, "member": member})
