"""An application service on a real port: it takes transactions, answers queries, and can be down or out of order."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from aiohttp import web
from tests.homeserver.running import MatrixClient, RunningHomeserver
from tests.patience import PATIENCE_SECONDS
from tests.specification import Violation, specification

AS_TOKEN = "as token of the test"
HS_TOKEN = "hs token of the test"


@dataclass
class AppServiceProcess:
    """What the homeserver told it. `status` is what it answers to transactions, after `slowness` seconds.

    `answers`: to look-ups in third-party networks, by the path behind /thirdparty/; what is not there is a 404.
    `is_old`: it knows only the paths from before they had versions.
    """

    port: int = 0
    status: int = 200
    slowness: float = 0.0
    is_old: bool = False
    answers: dict[str, Any] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    transactions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    accepted: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    queried: list[str] = field(default_factory=list)
    pings: list[Any] = field(default_factory=list)
    on_query: Callable[[str], Awaitable[bool]] | None = None
    violations: list[str] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self) -> list[dict[str, Any]]:
        """All events of the transactions it took, in their order, each transaction once."""
        return [event for number in sorted(self.accepted, key=int) for event in self.accepted[number]]

    def told(self, name: str) -> list[dict[str, Any]]:
        """All entries of a list that transactions may have beside their events, in their order."""
        in_order = (self.transactions[number] for number in sorted(self.transactions, key=int))
        return [entry for body in in_order for entry in body.get(name, ())]

    def bodies(self) -> list[str]:
        """The text of the messages among them."""
        return [event["content"]["body"] for event in self.events() if event["type"] == "m.room.message"]

    async def until(self, done: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until `done`; fails after `seconds`."""
        async with asyncio.timeout(seconds):
            while not done():
                self.news.clear()
                await self.news.wait()

    @contextlib.asynccontextmanager
    async def up(self) -> AsyncIterator[None]:
        """Listen while the block runs; on the same port each time."""
        app = web.Application()
        version, networks = ("", "/_matrix/app/unstable") if self.is_old else ("/_matrix/app/v1", "/_matrix/app/v1")
        app.router.add_put(version + "/transactions/{number}", self._transaction)
        app.router.add_post("/_matrix/app/v1/ping", self._ping)
        app.router.add_get(version + "/{kind:users|rooms}/{name}", self._query)
        app.router.add_get(networks + "/thirdparty/{what:.*}", self._look_up)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = runner.addresses[0][1]
        try:
            yield
        finally:
            await runner.cleanup()
        assert self.violations == []

    def _hold(self, request: web.Request, body: Any) -> None:
        """Note where a request is not what the specification says; the end of `up` fails for it."""
        held_against = specification()
        if held_against is not None and not self.is_old:
            try:
                held_against.check_request(request.method, request.rel_url.raw_path, body)
            except Violation as violation:
                self.violations.append(str(violation))

    async def _transaction(self, request: web.Request) -> web.Response:
        if refused := _refused(request):
            return refused
        body = await request.read()
        await asyncio.sleep(self.slowness)
        number = request.match_info["number"]
        self.requests.append((number, body))
        self._hold(request, json.loads(body))
        if self.status == 200:
            events = json.loads(body)["events"]
            assert number not in self.accepted or self.accepted[number] == events, "a retry was altered"
            self.accepted[number] = events
            self.transactions[number] = json.loads(body)
        self.news.set()
        return web.json_response({}, status=self.status)

    async def _ping(self, request: web.Request) -> web.Response:
        if refused := _refused(request):
            return refused
        self._hold(request, await request.json())
        self.pings.append(await request.json())
        return web.json_response({}, status=self.status)

    async def _look_up(self, request: web.Request) -> web.Response:
        if refused := _refused(request):
            return refused
        self._hold(request, None)
        what = request.match_info["what"]
        self.asked.append((what, dict(request.query)))
        if what not in self.answers:
            return web.json_response({"errcode": "NOT_FOUND"}, status=404)
        answer = self.answers[what]
        return web.Response(body=answer) if isinstance(answer, bytes) else web.json_response(answer)

    async def _query(self, request: web.Request) -> web.Response:
        if refused := _refused(request):
            return refused
        self._hold(request, None)
        name = unquote(request.match_info["name"])
        self.queried.append(name)
        if self.on_query is not None and await self.on_query(name):
            return web.json_response({})
        return web.json_response({"errcode": "NOT_FOUND"}, status=404)


def _refused(request: web.Request) -> web.Response | None:
    if request.headers.get("Authorization") != f"Bearer {HS_TOKEN}":
        return web.json_response({"errcode": "M_FORBIDDEN"}, status=403)
    return None


def registration(url: str | None, **changes: Any) -> dict[str, Any]:
    """The registration file's content: ghosts are @thing_..., aliases #thing_..."""
    return {
        "id": "gateway",
        "url": url,
        "as_token": AS_TOKEN,
        "hs_token": HS_TOKEN,
        "sender_localpart": "thingbot",
        "rate_limited": False,
        "namespaces": {
            "users": [{"exclusive": True, "regex": "@thing_.*"}],
            "aliases": [{"exclusive": True, "regex": "#thing_.*"}],
            "rooms": [],
        },
        **changes,
    }


def write_registration(folder: Path, url: str | None, **changes: Any) -> str:
    """Write it as JSON; the path."""
    path = folder / f"{changes.get('id', 'gateway')}.json"
    path.write_text(json.dumps(registration(url, **changes)))
    return str(path)


def as_client(server: RunningHomeserver) -> MatrixClient:
    """A client with the as_token: requests act as the sender, or with user_id=... as a ghost."""
    client = server.client(AS_TOKEN)
    client.user_id = "@thingbot:localhost"
    return client


async def make_ghost(client: MatrixClient, name: str) -> str:
    """Register @<name>:localhost; the user id."""
    body = {"type": "m.login.application_service", "username": name, "inhibit_login": True}
    return (await client.post("v3/register", body)).ok()["user_id"]
