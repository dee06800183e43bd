"""A homeserver for the gateway's tests: real HTTP, the few endpoints an application service needs, faults on demand.

It deduplicates by (user, transaction id) as the specification says, and checks tokens, namespaces, membership and
content, so that a gateway which cheats is found out. Faults are taken from `faults`, one a request, in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

AS_TOKEN, HS_TOKEN = "as-token-for-tests", "hs-token-for-tests"
SERVER = "home.test"
_USER = re.compile(rf"@(thing_.*|thingroom):{SERVER}")


@dataclass
class Fault:
    """What to do instead of answering: a status with headers and body, to hang, or to drop the connection.

    `gate`: do as was asked, once it is set. `commit`: do what was asked first. `match`: only for requests whose path
    contains it.
    """

    status: int = 0
    body: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    drop: bool = False
    commit: bool = False
    gate: asyncio.Event | None = None
    match: str = ""
    times: int = 1


@dataclass
class Room:
    room_id: str
    creator: str
    create: dict[str, Any]
    invited: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)
    state: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)


class FakeHomeserver:
    """Start with `async with FakeHomeserver.started()`; `stop` and `start` again on the same port for an outage."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.avatars: dict[str, str] = {}
        self.uploads: list[bytes] = []
        self.rooms: dict[str, Room] = {}
        self.aliases: dict[str, str] = {}
        self.transactions: dict[tuple[str, str, str], str] = {}
        self.requests: list[tuple[str, str]] = []
        self.faults: deque[Fault] = deque()
        self.default_version = "12"
        self.port = 0
        self.repeated = 0
        self.seconds_to_answer = 0.0
        self._runner: web.AppRunner | None = None
        self._count = 0
        self._hung = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def started(cls) -> AsyncIterator[FakeHomeserver]:
        fake = cls()
        await fake.start()
        try:
            yield fake
        finally:
            await fake.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._hung = asyncio.Event()
        app = web.Application(client_max_size=200_000)
        app.router.add_route("*", "/{tail:.*}", self._any)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        self._hung.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def events(self, type_: str = "org.thingroom.readings", room_name: str | None = None) -> list[dict[str, Any]]:
        """Events of a type in all rooms, in the order of each room."""
        rooms = [r for r in self.rooms.values() if room_name is None or r.create.get("name") == room_name]
        return [event for room in rooms for event in room.events if event["type"] == type_]

    def sequences(self, device: str) -> list[int]:
        """Every sequence of every reading of `device` in the rooms, as often as it is there (once per envelope)."""
        found: list[int] = []
        for event in self.events():
            if event["content"]["device"] == device:
                found += list(dict.fromkeys(reading["sequence"] for reading in event["content"]["readings"]))
        return found

    async def _any(self, request: web.Request) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        self.requests.append((request.method, path))
        await asyncio.sleep(self.seconds_to_answer)
        fault = next((fault for fault in self.faults if fault.match in path), None)
        if fault is None:
            return await self._handle(request, path)
        fault.times -= 1
        if fault.times <= 0:
            self.faults.remove(fault)
        if fault.gate is not None:
            await fault.gate.wait()
            return await self._handle(request, path)
        if fault.commit:
            await self._handle(request, path)
        if fault.hang:
            await self._hung.wait()
        if fault.drop or fault.hang:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.json_response(fault.body, status=fault.status, headers=fault.headers)

    async def _handle(self, request: web.Request, path: str) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {AS_TOKEN}":
            return _error(401, "M_UNKNOWN_TOKEN")
        user = request.query.get("user_id", f"@thingroom:{SERVER}")
        if not _USER.fullmatch(user):
            return _error(403, "M_EXCLUSIVE")
        if path == "/_matrix/media/v3/upload":
            self.uploads.append(await request.read())
            return web.json_response({"content_uri": f"mxc://{SERVER}/{len(self.uploads)}"})
        parts = [_unquoted(part) for part in path.removeprefix("/_matrix/client/v3/").split("/")]
        try:
            body = json.loads(await request.text()) if request.can_read_body else {}
        except ValueError:
            return _error(400, "M_NOT_JSON")
        match [request.method, *parts]:
            case ["POST", "register"]:
                return self._register(body)
            case ["PUT", "profile", who, "displayname"]:
                if who != user or who not in self.users:
                    return _error(403, "M_FORBIDDEN")
                self.users[who] = body["displayname"]
                return web.json_response({})
            case ["GET", "profile", who, "avatar_url"]:
                if who not in self.avatars:
                    return _error(404, "M_NOT_FOUND")
                return web.json_response({"avatar_url": self.avatars[who]})
            case ["PUT", "profile", who, "avatar_url"]:
                if who != user or who not in self.users:
                    return _error(403, "M_FORBIDDEN")
                self.avatars[who] = body["avatar_url"]
                return web.json_response({})
            case ["GET", "capabilities"]:
                versions = {"default": self.default_version, "available": {self.default_version: "stable"}}
                return web.json_response({"capabilities": {"m.room_versions": versions}})
            case ["POST", "createRoom"]:
                return self._create(user, body)
            case ["GET", "directory", "room", alias]:
                if alias not in self.aliases:
                    return _error(404, "M_NOT_FOUND")
                return web.json_response({"room_id": self.aliases[alias], "servers": [SERVER]})
            case ["POST", "rooms", room_id, "invite"]:
                room = self.rooms[room_id]
                if user not in room.joined or body["user_id"] in room.joined:
                    return _error(403, "M_FORBIDDEN")
                room.invited.add(body["user_id"])
                return web.json_response({})
            case ["POST", "join", room_id]:
                return self._join(self.rooms[room_id], user)
            case ["PUT", "rooms", room_id, "state", type_, state_key]:
                room = self.rooms[room_id]
                if user not in room.joined:
                    return _error(403, "M_FORBIDDEN")
                room.state[type_, state_key] = body
                return web.json_response({"event_id": self._event_id()})
            case ["PUT", "rooms", room_id, "send", type_, txn_id]:
                return self._send(request, self.rooms[room_id], user, type_, txn_id, body)
        return _error(404, "M_UNRECOGNIZED")

    def _register(self, body: dict[str, Any]) -> web.Response:
        if body.get("type") != "m.login.application_service" or body.get("inhibit_login") is not True:
            return _error(400, "M_APPSERVICE_LOGIN_UNSUPPORTED")
        user = f"@{body['username']}:{SERVER}"
        if not _USER.fullmatch(user):
            return _error(400, "M_EXCLUSIVE")
        if user in self.users:
            return _error(400, "M_USER_IN_USE")
        self.users[user] = ""
        return web.json_response({"user_id": user})

    def _create(self, user: str, body: dict[str, Any]) -> web.Response:
        alias = f"#{body['room_alias_name']}:{SERVER}"
        if alias in self.aliases:
            return _error(400, "M_ROOM_IN_USE")
        users = body.get("power_level_content_override", {}).get("users", {})
        if self.default_version == "12" and user in users:
            return _error(400, "M_BAD_JSON")
        if self.default_version != "12" and users.get(user, 100 if not users else 0) < 100:
            return _error(400, "M_BAD_STATE")
        room_id = f"!room{len(self.rooms)}"
        room = Room(room_id, user, body, set(body.get("invite", [])), {user})
        for event in body.get("initial_state", []):
            room.state[event["type"], event["state_key"]] = event["content"]
        self.rooms[room_id] = room
        self.aliases[alias] = room_id
        return web.json_response({"room_id": room_id})

    def _join(self, room: Room, user: str) -> web.Response:
        if user not in self.users or (user not in room.joined and user not in room.invited):
            return _error(403, "M_FORBIDDEN")
        room.joined.add(user)
        return web.json_response({"room_id": room.room_id})

    def _send(
        self, request: web.Request, room: Room, user: str, type_: str, txn_id: str, body: dict[str, Any]
    ) -> web.Response:
        if user not in room.joined:
            return _error(403, "M_FORBIDDEN")
        if len(json.dumps(body, ensure_ascii=False).encode()) > 60_000 or _has_float(body):
            return _error(413, "M_TOO_LARGE")
        known = self.transactions.get((room.room_id, user, txn_id))
        if known is not None:
            self.repeated += 1
            return web.json_response({"event_id": known})
        event_id = self.transactions[room.room_id, user, txn_id] = self._event_id()
        room.events.append(
            {"event_id": event_id, "type": type_, "sender": user, "content": body, "ts": int(request.query["ts"])}
        )
        return web.json_response({"event_id": event_id})

    def _event_id(self) -> str:
        self._count += 1
        return f"$event{self._count}"


def _error(status: int, errcode: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": errcode}, status=status)


def _unquoted(text: str) -> str:
    from urllib.parse import unquote

    return unquote(text)


def _has_float(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_float(item) for item in value.values())
    if isinstance(value, list):
        return any(_has_float(item) for item in value)
    return isinstance(value, float)
