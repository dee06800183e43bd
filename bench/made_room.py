"""Large rooms that never were: their events are made and signed here, for a server that the benchmark plays itself.

`MadeRoom` makes the events of a room; `serving` is the server, which answers to joins: the same bytes to ours and to
Synapse, encoded before a clock runs.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator, Sequence

import orjson
from aiohttp import web
from tests.federation.peers import Authority
from tests.free_port import free_port

from thingroom_homeserver.core.auth_rules import auth_types
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json

START_MS = 1_760_000_000_000
DAY_MS = 24 * 3600 * 1000


class MadeRoom:
    """A public room of `owner`. `events` is all that was made, `state` the newest event of each place."""

    def __init__(self, server_name: str, key: SigningKey, version: str) -> None:
        self.server_name = server_name
        self.key = key
        self.rules = ROOM_RULES[version]
        self.owner = self.user("owner")
        self.events: list[Event] = []
        self.state: dict[tuple[str, str], Event] = {}
        self.room_id: str | None = None
        create: JsonObject = {"room_version": version, "org.example.number": os.urandom(8).hex()}
        if self.rules.creator_in_content:
            create["creator"] = self.owner
        if not self.rules.room_id_is_create_event_id:
            self.room_id = f"!large{os.urandom(8).hex()}:{server_name}"
        self.room_id = self.add("m.room.create", create, "").room_id
        self.add("m.room.member", {"membership": "join"}, self.owner)
        self.add("m.room.power_levels", self.levels(), "")
        self.add("m.room.join_rules", {"join_rule": "public"}, "")
        self.add("m.room.history_visibility", {"history_visibility": "shared"}, "")

    def user(self, name: str) -> str:
        return f"@{name}:{self.server_name}"

    def levels(self, **users: int) -> JsonObject:
        """Power levels: the owner's, and those of the users named."""
        given: JsonObject = {self.user(name): level for name, level in users.items()}
        return {"users": given if self.rules.privileged_creators else {self.owner: 100, **given}}

    def add(self, kind: str, content: JsonObject, state_key: str, sender: str = "") -> Event:
        """The next state event: by the owner or, where somebody joins, by that user."""
        event = self.make(kind, content, state_key, sender)
        self.events.append(event)
        self.state[kind, state_key] = event
        return event

    def make(self, kind: str, content: JsonObject, state_key: str, sender: str = "") -> Event:
        """The same, without putting it into the room."""
        sender = sender or (state_key if content.get("membership") == "join" else self.owner)
        places = sorted(auth_types(kind, sender, state_key, content, self.rules))
        return build_event(
            rules=self.rules,
            room_id=self.room_id,
            type=kind,
            state_key=state_key,
            sender=sender,
            content=content,
            auth_event_ids=[self.state[place].event_id for place in places if place in self.state],
            prev_event_ids=[each.event_id for each in self.events[-1:]],
            depth=len(self.events) + 1,
            origin_server_ts=START_MS + len(self.events),
            server_name=self.server_name,
            signing_key=self.key,
        )

    def join(self, members: int) -> None:
        """Have so many users join."""
        for number in range(members):
            content: JsonObject = {"membership": "join", "displayname": f"Member {number}"}
            self.add("m.room.member", content, self.user(f"member{number}"))

    def branch(self) -> MadeRoom:
        """The same room, to go on in another way."""
        other = object.__new__(MadeRoom)
        vars(other).update({**vars(self), "events": list(self.events), "state": dict(self.state)})
        return other


class _Resident:
    """The server that the rooms are on. It takes what it is sent, and never sends anything by itself."""

    def __init__(self, rooms: Sequence[MadeRoom]) -> None:
        self._rooms = {str(room.room_id): room for room in rooms}
        self._bodies = {room_id: _joined_body(room) for room_id, room in self._rooms.items()}
        self._server_name, self._key = rooms[0].server_name, rooms[0].key

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        v1 = "/_matrix/federation/v1"
        app.router.add_get("/_matrix/key/v2/server", self._keys)
        app.router.add_get(v1 + "/make_join/{room_id}/{user_id}", self._make_join)
        app.router.add_put("/_matrix/federation/v2/send_join/{room_id}/{event_id}", self._send_join)
        app.router.add_put(v1 + "/send/{transaction_id}", self._send)
        app.router.add_get(v1 + "/backfill/{room_id}", self._backfill)
        app.router.add_route("*", "/{tail:.*}", self._unknown)
        return app

    async def _keys(self, request: web.Request) -> web.Response:
        keys: JsonObject = {
            "server_name": self._server_name,
            "valid_until_ts": int(time.time() * 1000) + DAY_MS,
            "verify_keys": {self._key.key_id: {"key": encode_base64(self._key.public_key)}},
            "old_verify_keys": {},
        }
        return _json(orjson.dumps(sign_json(keys, self._server_name, self._key)))

    async def _make_join(self, request: web.Request) -> web.Response:
        room = self._rooms[request.match_info["room_id"]]
        user_id = request.match_info["user_id"]
        pdu = room.make("m.room.member", {"membership": "join"}, user_id, sender=user_id).pdu
        template = {name: value for name, value in pdu.items() if name not in ("hashes", "signatures")}
        return _json(orjson.dumps({"room_version": room.rules.version, "event": template}))

    async def _send_join(self, request: web.Request) -> web.Response:
        # The rest of the answer is the same for everybody who joins.
        return _json(b'{"event":' + await request.read() + self._bodies[request.match_info["room_id"]])

    async def _send(self, request: web.Request) -> web.Response:
        return _json(b'{"pdus":{}}')

    async def _backfill(self, request: web.Request) -> web.Response:
        answer = {"origin": self._server_name, "origin_server_ts": START_MS, "pdus": []}
        return _json(orjson.dumps(answer))

    async def _unknown(self, request: web.Request) -> web.Response:
        return web.json_response({"errcode": "M_NOT_FOUND", "error": "There is no more to this server"}, status=404)


def _joined_body(room: MadeRoom) -> bytes:
    state = list(room.state.values())
    cited = {event_id for event in state for event_id in event.auth_event_ids}
    answer = {
        "state": [event.pdu for event in state],
        "auth_chain": [event.pdu for event in room.events if event.event_id in cited],
        "members_omitted": False,
        "origin": room.server_name,
        "servers_in_room": [room.server_name],
    }
    return b"," + orjson.dumps(answer)[1:]


def _json(data: bytes) -> web.Response:
    return web.Response(body=data, content_type="application/json")


@contextlib.asynccontextmanager
async def serving(authority: Authority, version: str, sizes: Sequence[int]) -> AsyncIterator[dict[int, MadeRoom]]:
    """Rooms with these numbers of members, by the number, and their server for as long as the block lasts."""
    port, key = free_port(), SigningKey.from_seed("ed25519:made", os.urandom(32))
    rooms: dict[int, MadeRoom] = {}
    for size in sizes:
        rooms[size] = MadeRoom(f"localhost:{port}", key, version)
        rooms[size].join(size)
    runner = web.AppRunner(_Resident(list(rooms.values())).app(), access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port, ssl_context=authority.server_context("localhost")).start()
        yield rooms
    finally:
        await runner.cleanup()
