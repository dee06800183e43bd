"""A member of a room whose server does as a test tells it: signs as a real one, and lies where it is told to.

It joins a room of one of our servers as any server would (make_join, send_join), keeps what it was told, makes events
on top of that with prev events, auth events, depth and content of the test's choice, and answers questions about them:
honestly by default, otherwise by handlers that the test puts in place (`server.on`).
"""

from __future__ import annotations

import contextlib
import itertools
import ssl
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from aiohttp import web
from tests.federation.peers import Authority, Peer, ProcessPeer
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.homeserver.running import Answer

from thingroom_homeserver.core.auth_rules import auth_types
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import JsonObject, encode_canonical_json
from thingroom_homeserver.core.event import Event, parse_untrusted_pdu
from thingroom_homeserver.core.hashing import content_hash, reference_hash, signed_part
from thingroom_homeserver.core.room_rules import ROOM_RULES

V1 = "/_matrix/federation/v1"
V2 = "/_matrix/federation/v2"
_NOT_FOUND = {"errcode": "M_NOT_FOUND", "error": "not here"}


def escaped(segment: str) -> str:
    return quote(segment, safe="")


class LyingPeer:
    """One user on a scripted server, in one room of `peer`."""

    def __init__(self, server: ScriptedServer, peer: Peer | ProcessPeer, localpart: str = "mallory") -> None:
        self.server = server
        self.peer = peer
        self.base_url = f"https://localhost:{peer.federation_port}"
        self.name = server.server_name
        self.user_id = f"@{localpart}:{server.server_name}"
        self.room_id = ""
        self.version = ""
        self.events: dict[str, Event] = {}
        self.state_before: dict[str, dict[tuple[str, str], str]] = {}
        self.state: dict[tuple[str, str], str] = {}
        self.tips: list[str] = []
        self.received: list[Event] = []
        self.asked: list[str] = []
        self._numbers = itertools.count(1)
        self._answer_honestly()

    async def ask(self, method: str, uri: str, body: JsonObject | None = None, **query: Any) -> Answer:
        """A well-signed request to the peer."""
        if query:
            uri += "?" + urlencode(query, doseq=True)
        return await self.server.ask(self.base_url, self.peer.server_name, method, uri, body)

    async def join(self, room_id: str) -> Event:
        """Join the room through the peer."""
        self.room_id = room_id
        versions = urlencode([("ver", version) for version in ROOM_RULES])
        uri = f"{V1}/make_join/{escaped(room_id)}/{escaped(self.user_id)}?{versions}"
        template = (await self.ask("GET", uri)).ok()
        self.version = template["room_version"]
        event = template["event"]
        known = ROOM_RULES[self.version].references_carry_hashes
        ids = [each[0] if known else each for each in event["prev_events"]]
        auth = [each[0] if known else each for each in event["auth_events"]]
        join = self._built(
            event["type"],
            event["content"],
            event["state_key"],
            prev=ids,
            auth=auth,
            depth=event["depth"],
            hashes={
                each[0]: each[1].get("sha256", "")
                for name in ("prev_events", "auth_events")
                for each in (event[name] if known else ())
            },
        )
        uri = f"{V2}/send_join/{escaped(room_id)}/{escaped(join.event_id)}"
        answer = (await self.ask("PUT", uri, join.pdu)).ok()
        for pdu in (*answer["auth_chain"], *answer["state"]):
            event = self.learn(pdu)
            assert event is not None
        for pdu in answer["state"]:
            event = self.learn(pdu)
            self.state[event.type, str(event.state_key)] = event.event_id
        self._take(join)
        return join

    def learn(self, pdu: JsonObject) -> Event:
        """Know an event that somebody told."""
        event = parse_untrusted_pdu(pdu, self.version)
        assert isinstance(event, Event), event
        return self.events.setdefault(event.event_id, event)

    def make(
        self,
        type: str = "m.room.message",
        content: JsonObject | None = None,
        state_key: str | None = None,
        *,
        prev: Sequence[str] | None = None,
        auth: Sequence[str] | None = None,
        depth: int | None = None,
        sender: str | None = None,
        ts: int | None = None,
        on_top: bool = True,
    ) -> Event:
        """An event, signed by this server. Unless told otherwise it is well made, follows the tips and becomes the tip.

        `on_top=False`: it is known, but the next one will not follow it.
        """
        if content is None:
            content = {"msgtype": "m.text", "body": f"number {next(self._numbers)}"}
        event = self._built(type, content, state_key, prev=prev, auth=auth, depth=depth, sender=sender, ts=ts)
        if on_top:
            self._take(event)
        else:
            self.events[event.event_id] = event
            self.state_before[event.event_id] = dict(self.state)
        return event

    def message(self, body: str, **options: Any) -> Event:
        return self.make(content={"msgtype": "m.text", "body": body}, **options)

    def _built(
        self,
        type: str,
        content: JsonObject,
        state_key: str | None,
        *,
        prev: Sequence[str] | None = None,
        auth: Sequence[str] | None = None,
        depth: int | None = None,
        sender: str | None = None,
        ts: int | None = None,
        hashes: dict[str, str] | None = None,
    ) -> Event:
        rules = ROOM_RULES[self.version]
        sender = sender or self.user_id
        if prev is None:
            prev = self.tips
        if auth is None:
            keys = sorted(auth_types(type, sender, state_key, content, rules))
            auth = [self.state[key] for key in keys if key in self.state]
        if depth is None:
            depth = 1 + max((self.events[each].depth for each in prev if each in self.events), default=0)
        if hashes is None and rules.references_carry_hashes:
            named = [self.events[each] for each in (*prev, *auth) if each in self.events]
            hashes = {event.event_id: reference_hash(event.pdu, rules) for event in named}
        return build_event(
            rules=rules,
            room_id=self.room_id,
            type=type,
            state_key=state_key,
            sender=sender,
            content=content,
            auth_event_ids=auth,
            prev_event_ids=prev,
            depth=depth,
            origin_server_ts=ts or time.time_ns() // 1_000_000,
            server_name=self.name,
            signing_key=self.server.key,
            event_id=None if rules.event_ids_are_hashes else f"${next(self._numbers)}x{time.time_ns()}:{self.name}",
            reference_hashes=hashes or {},
        )

    def signed_again(self, pdu: JsonObject) -> JsonObject:
        """A PDU that was changed by hand, with the hash and the signature that it needs."""
        rules = ROOM_RULES[self.version]
        bare = {key: value for key, value in pdu.items() if key not in ("hashes", "signatures", "unsigned")}
        bare["hashes"] = {"sha256": content_hash(bare, rules)}
        signature = self.server.key.sign(encode_canonical_json(signed_part(bare, rules), strict=False))
        return {**bare, "signatures": {self.name: {self.server.key.key_id: signature}}}

    def _take(self, event: Event) -> None:
        """The event is the room's newest."""
        self.events[event.event_id] = event
        self.state_before[event.event_id] = dict(self.state)
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event.event_id
        self.tips = [tip for tip in self.tips if tip not in event.prev_event_ids] + [event.event_id]

    async def send(
        self, *pdus: Event | JsonObject, edus: Sequence[Any] = (), transaction_id: str | None = None
    ) -> Answer:
        """Send a transaction."""
        body = {
            "origin": self.name,
            "origin_server_ts": time.time_ns() // 1_000_000,
            "pdus": [pdu.pdu if isinstance(pdu, Event) else pdu for pdu in pdus],
            "edus": list(edus),
        }
        name = transaction_id or f"txn{time.time_ns()}"
        return await self.ask("PUT", f"{V1}/send/{escaped(name)}", body)

    async def sent(self, *events: Event) -> dict[str, str | None]:
        """Send events; what the peer said of each: None if it took it, else its error."""
        results = (await self.send(*events)).ok()["pdus"]
        return {event.event_id: results[event.event_id].get("error") for event in events}

    # Honest answers

    def _answer_honestly(self) -> None:
        self.server.on("PUT", rf"{V1}/send/.+", self._on_send)
        self.server.on("GET", rf"{V1}/event/.+", self._on_event)
        self.server.on("GET", rf"{V1}/state_ids/.+", self._on_state_ids)
        self.server.on("GET", rf"{V1}/state/.+", self._on_state)
        self.server.on("GET", rf"{V1}/event_auth/.+", self._on_event_auth)
        self.server.on("GET", rf"{V1}/backfill/.+", self._on_backfill)
        self.server.on("POST", rf"{V1}/get_missing_events/.+", self._on_missing)

    def _on_send(self, request: web.Request, body: Any) -> JsonObject:
        for pdu in body["pdus"]:
            event = self.learn(pdu)
            self.received.append(event)
            self._take(event)
        return {"pdus": {}}

    def _on_event(self, request: web.Request, body: Any) -> Any:
        event = self.events.get(request.path.rpartition("/event/")[2])
        self.asked.append(request.path)
        return _missing() if event is None else {"origin": self.name, "origin_server_ts": 1, "pdus": [event.pdu]}

    def state_and_chain(self, event_id: str) -> tuple[list[Event], list[Event]] | None:
        """The state before an event, and what authorises it."""
        state = self.state_before.get(event_id)
        if state is None:
            return None
        events = [self.events[each] for each in state.values()]
        return events, self.chain(events)

    def chain(self, events: Iterable[Event]) -> list[Event]:
        found: dict[str, Event] = {}
        pending = [each for event in events for each in event.auth_event_ids]
        while pending:
            each = pending.pop()
            if each not in found and each in self.events:
                found[each] = self.events[each]
                pending += found[each].auth_event_ids
        return list(found.values())

    def _on_state_ids(self, request: web.Request, body: Any) -> Any:
        self.asked.append(request.path)
        told = self.state_and_chain(request.query["event_id"])
        if told is None:
            return _missing()
        return {
            "pdu_ids": [event.event_id for event in told[0]],
            "auth_chain_ids": [event.event_id for event in told[1]],
        }

    def _on_state(self, request: web.Request, body: Any) -> Any:
        self.asked.append(request.path)
        told = self.state_and_chain(request.query["event_id"])
        if told is None:
            return _missing()
        return {"pdus": [event.pdu for event in told[0]], "auth_chain": [event.pdu for event in told[1]]}

    def _on_event_auth(self, request: web.Request, body: Any) -> Any:
        event = self.events.get(request.path.rpartition("/")[2])
        self.asked.append(request.path)
        return _missing() if event is None else {"auth_chain": [each.pdu for each in self.chain([event])]}

    def _on_backfill(self, request: web.Request, body: Any) -> Any:
        self.asked.append(request.path)
        found = self._back(request.query.getall("v"), int(request.query["limit"]), set())
        return {"origin": self.name, "origin_server_ts": 1, "pdus": [event.pdu for event in found]}

    def _on_missing(self, request: web.Request, body: Any) -> Any:
        self.asked.append(request.path)
        latest = [self.events[each] for each in body["latest_events"] if each in self.events]
        first = [each for event in latest for each in event.prev_event_ids]
        stop = {*body["earliest_events"], *body["latest_events"]}
        found = self._back(first, min(body.get("limit", 10), 20), stop)
        return {"events": [event.pdu for event in reversed(found) if event.depth >= body.get("min_depth", 0)]}

    def _back(self, start: Iterable[str], limit: int, stop: set[str]) -> list[Event]:
        found: dict[str, Event] = {}
        pending = list(start)
        while pending and len(found) < limit:
            each = pending.pop(0)
            if each not in found and each not in stop and each in self.events:
                found[each] = self.events[each]
                pending += found[each].prev_event_ids
        return list(found.values())


def _missing() -> web.Response:
    return web.json_response(_NOT_FOUND, status=404)


@contextlib.asynccontextmanager
async def lying_peer(
    authority: Authority, peer: Peer | ProcessPeer, room_id: str | None = None, localpart: str = "mallory"
) -> AsyncIterator[LyingPeer]:
    """Such a peer, in the room if one is named. What it is asked besides is answered with 404.

    Its name is an address, so that a server ACL can tell it from ours, which are called localhost.
    """
    trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(authority.ca_file)))
    async with (
        aiohttp.ClientSession(connector=trusting) as client,
        scripted_server(authority, tls=authority.server_context("127.0.0.1"), strict=False) as server,
    ):
        server.server_name, server.client = f"127.0.0.1:{server.port}", client
        liar = LyingPeer(server, peer, localpart)
        if room_id is not None:
            await liar.join(room_id)
        yield liar
