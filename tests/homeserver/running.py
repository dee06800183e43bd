"""A running homeserver on an ephemeral port, and a small Matrix client to talk to it.

Used by the fixtures of conftest.py, and directly by tests that stop and start a server or that live elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec
import yarl
from aiohttp import web
from tests.specification import specification

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config import HomeserverConfig, PasswordCost
from thingroom_homeserver.http.endpoint import Endpoint
from thingroom_homeserver.http.protocol import MatrixRunner
from thingroom_homeserver.server import ENDPOINTS, SERVICES, build_app
from thingroom_homeserver.services import Services

PASSWORD = "correct horse battery"


class ManualClock:
    """A clock that moves when it is told to."""

    def __init__(self, now_ms: int = 1_760_000_000_000) -> None:
        self.ms = now_ms
        self.seconds = 1000.0

    def now_ms(self) -> int:
        return self.ms

    def monotonic(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        self.ms += int(seconds * 1000)


@dataclass(frozen=True)
class Answer:
    """A response: its status, its JSON body and its headers."""

    status: int
    body: Any
    headers: Any

    @property
    def errcode(self) -> str | None:
        return self.body.get("errcode") if isinstance(self.body, dict) else None

    def ok(self) -> dict[str, Any]:
        """The body of a 200; fails on anything else."""
        assert self.status == 200, (self.status, self.body)
        return self.body

    def is_error(self, status: int, errcode: str) -> None:
        """Fails unless this is that error."""
        assert (self.status, self.errcode) == (status, errcode), (self.status, self.body)
        assert isinstance(self.body["error"], str)


class MatrixClient:
    """Requests under one access token (or none). Paths start after /_matrix/client/, e.g. "v3/sync", or with "/"."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, token: str | None = None) -> None:
        self.http = http
        self.base_url = base_url
        self.token = token
        self.user_id = ""
        self.device_id = ""
        self.sends_odd_events = False
        """Set by a test that sends contents which their types do not allow: the server passes them on."""
        self.asks_for_parts = False
        """Set by a test whose filters leave out fields of events that the specification requires."""
        self.asks_another_server = False
        """Set for servers that are not ours: what they answer is theirs to answer for."""

    async def request(self, method: str, path: str, body: Any = None, **query: Any) -> Answer:
        start = "" if path.startswith("/") else "/" if path.startswith((".", "_")) else "/_matrix/client/"
        url = f"{self.base_url}{start}{path}"
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        parameters = {name: str(value).lower() if isinstance(value, bool) else value for name, value in query.items()}
        data: dict[str, Any] = {"data": body} if isinstance(body, bytes) else {"json": body} if body is not None else {}
        target = yarl.URL(url, encoded=True).update_query(parameters) if parameters else yarl.URL(url, encoded=True)
        async with self.http.request(method, target, headers=headers, **data) as response:
            text = await response.read()
            answer = Answer(response.status, _decoded(response, text), response.headers)
        held_against = specification()
        if held_against is not None and not (self.asks_for_parts or self.asks_another_server):
            content_type = answer.headers.get("Content-Type", "")
            events = not self.sends_odd_events
            held_against.check(method, target.raw_path, answer.status, content_type, answer.body, events=events)
        return answer

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.request("GET", path, **query)

    async def put(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.request("PUT", path, {} if body is None else body, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.request("POST", path, {} if body is None else body, **query)

    async def delete(self, path: str, body: Any = None, **query: Any) -> Answer:
        return await self.request("DELETE", path, body, **query)


def _decoded(response: aiohttp.ClientResponse, text: bytes) -> Any:
    """JSON as its value, anything else (media) as the bytes, nothing as None."""
    if response.content_type == "application/json":
        return msgspec.json.decode(text) if text else None
    return text or None


def escape(segment: str) -> str:
    """A room id, user id or alias as one segment of a path."""
    return quote(segment, safe="")


@dataclass
class RunningHomeserver:
    """A homeserver that answers at `base_url`."""

    base_url: str
    services: Services
    config: HomeserverConfig
    http: aiohttp.ClientSession
    _numbers: Any = field(default_factory=itertools.count)

    def client(self, token: str | None = None) -> MatrixClient:
        return MatrixClient(self.http, self.base_url, token)

    async def register(self, name: str | None = None, *, password: str = PASSWORD, **extra: Any) -> MatrixClient:
        """A new account, logged in."""
        client = self.client()
        body = {"username": name or f"user{next(self._numbers)}", "password": password, **extra}
        answer = await client.post("v3/register", {**body, "auth": {"type": "m.login.dummy"}})
        session = answer.ok()
        client.token, client.user_id, client.device_id = (
            session["access_token"],
            session["user_id"],
            session["device_id"],
        )
        return client


def make_config(data_directory: Path, **changes: Any) -> HomeserverConfig:
    """A configuration for tests: open registration, cheap passwords, no rate limits."""
    data_directory.mkdir(exist_ok=True)
    config = HomeserverConfig(
        server_name="localhost",
        listeners=("127.0.0.1:0",),
        data_directory=str(data_directory),
        registration="open",
        rate_limits=False,
        password_cost=PasswordCost(memory_kib=64, passes=1),
    )
    return msgspec.structs.replace(config, **changes)


@contextlib.asynccontextmanager
async def running_homeserver(
    config: HomeserverConfig,
    *,
    clock: Clock | None = None,
    port: int = 0,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
) -> AsyncIterator[RunningHomeserver]:
    """The server of `config`, listening on 127.0.0.1 until the block ends."""
    app = build_app(config, clock=clock, endpoints=endpoints)
    runner = MatrixRunner(app, seconds_to_finish=0.5)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        address = runner.addresses[0]
        async with aiohttp.ClientSession() as http:
            yield RunningHomeserver(f"http://127.0.0.1:{address[1]}", app[SERVICES], config, http)
            await asyncio.sleep(0)
    finally:
        await runner.cleanup()
