"""A room on a scripted server, which answers to joins, knocks and leaves as a real one would until a test spoils it."""

from __future__ import annotations

import itertools
import time
from typing import Any

from tests.federation.scripted import ScriptedServer

from thingroom_homeserver.core.auth_rules import auth_types
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.hashing import event_id_of, reference_hash
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import sign_event

_TICKS = itertools.count()
"""Two rooms made in the same millisecond would be one: the id is a hash."""
V1, V2 = "/_matrix/federation/v1", "/_matrix/federation/v2"


class ForeignRoom:
    """A public room of one user, `owner`. `template` and `joined` are what make_… and send_join answer next."""

    def __init__(self, server: ScriptedServer, version: str = "12", join_rule: str = "public") -> None:
        self.server = server
        self.version = version
        self.rules = ROOM_RULES[version]
        self.owner = f"@owner:{server.server_name}"
        self.events: list[Event] = []
        self.state: dict[tuple[str, str], Event] = {}
        self.taken: list[JsonObject] = []
        self.joined_changes: JsonObject = {}
        self.template_changes: JsonObject = {}
        self._numbers = itertools.count(1)
        self.room_id = f"!room:{server.server_name}"
        content: JsonObject = {"room_version": version}
        if self.rules.creator_in_content:
            content["creator"] = self.owner
        create = self.add("m.room.create", content, "")
        self.room_id = create.room_id
        self.add("m.room.member", {"membership": "join"}, self.owner)
        users = {} if self.rules.privileged_creators else {self.owner: 100}
        self.add("m.room.power_levels", {"users": users}, "")
        self.add("m.room.join_rules", {"join_rule": join_rule}, "")
        self.add("m.room.name", {"name": "Abroad"}, "")
        self.answer()

    def answer(self) -> None:
        """Have the server answer for this room and for no other."""
        server = self.server
        for kind in ("join", "leave", "knock"):
            server.on("GET", rf"{V1}/make_{kind}/.+", lambda request, body, kind=kind: self._on_make(request, kind))
        server.on("PUT", rf"{V2}/send_join/.+", self._on_send_join)
        server.on("PUT", rf"{V2}/send_leave/.+", lambda request, body: self._took(body, {}))
        server.on("PUT", rf"{V1}/send_knock/.+", lambda request, body: self._took(body, self.glimpse()))
        server.on("PUT", rf"{V1}/send/.+", {"pdus": {}})

    def build(self, kind: str, content: JsonObject, state_key: str | None, sender: str | None = None) -> Event:
        """The next event of the room, not put into it."""
        sender = sender or self.owner
        is_create = kind == "m.room.create"
        keys = sorted(auth_types(kind, sender, state_key, content, self.rules))
        auth = [self.state[key] for key in keys if key in self.state]
        prev = self.events[-1:]
        return build_event(
            rules=self.rules,
            room_id=None if is_create and self.rules.room_id_is_create_event_id else self.room_id,
            type=kind,
            state_key=state_key,
            sender=sender,
            content=content,
            auth_event_ids=[event.event_id for event in auth],
            prev_event_ids=[event.event_id for event in prev],
            depth=len(self.events) + 1,
            origin_server_ts=time.time_ns() // 1_000_000 + next(_TICKS),
            server_name=self.server.server_name,
            signing_key=self.server.key,
            event_id=None if self.rules.event_ids_are_hashes else f"${next(self._numbers)}:{self.server.server_name}",
            reference_hashes={event.event_id: reference_hash(event.pdu, self.rules) for event in (*auth, *prev)},
        )

    def add(self, kind: str, content: JsonObject, state_key: str) -> Event:
        event = self.build(kind, content, state_key)
        self.events.append(event)
        self.state[kind, state_key] = event
        return event

    def glimpse(self) -> JsonObject:
        """What an outsider is shown."""
        kinds = ("m.room.create", "m.room.name", "m.room.join_rules")
        return {"knock_room_state": [self.state[kind, ""].pdu for kind in kinds]}

    def invite(self, user_id: str, **changes: Any) -> tuple[Event, JsonObject]:
        """An invite, and the body by which it is sent."""
        bare = self.build("m.room.member", {"membership": "invite"}, user_id).pdu
        bare = {name: value for name, value in bare.items() if name not in ("hashes", "signatures")}
        bare["origin"] = self.server.server_name
        pdu = sign_event(bare, self.server.server_name, self.server.key, self.rules)
        event = event_of_pdu(pdu, event_id_of(pdu, self.rules), self.rules)
        body = {
            "room_version": self.version,
            "event": event.pdu,
            "invite_room_state": self.glimpse()["knock_room_state"],
        }
        return event, body | changes

    def _on_make(self, request: Any, kind: str) -> JsonObject:
        user_id = request.path.rpartition("/")[2]
        event = self.build("m.room.member", {"membership": kind}, user_id, sender=user_id)
        bare = {name: value for name, value in event.pdu.items() if name not in ("hashes", "signatures", "event_id")}
        event_changes = {name: value for name, value in self.template_changes.items() if name != "room_version"}
        version = self.template_changes.get("room_version", self.version)
        return {"room_version": version, "event": {**bare, "origin": self.server.server_name, **event_changes}}

    def _on_send_join(self, request: Any, body: JsonObject) -> JsonObject:
        state = [event.pdu for event in self.state.values()]
        answer = {"event": body, "state": state, "auth_chain": state, "origin": self.server.server_name}
        return self._took(body, answer | self.joined_changes)

    def _took(self, body: JsonObject, answer: JsonObject) -> JsonObject:
        self.taken.append(body)
        return answer
