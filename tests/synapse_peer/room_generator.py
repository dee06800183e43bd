"""Rooms by chance, for comparing authorisation: a room grows event by event, some of them against the rules.

Every event is kept with the state it was checked against and what our rules say; the tests ask Synapse the same.
The same seed gives the same room.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from random import Random
from typing import Any

from thingroom_homeserver.core.auth_rules import (
    Allowed,
    Verdict,
    auth_types,
    check_auth,
    check_auth_events_list,
)
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import server_name_of
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json

ALICE, BOB, CAROL, DAVE = "@alice:one.test", "@bob:one.test", "@carol:two.test", "@dave:two.test"
USERS = (ALICE, BOB, CAROL, DAVE, "@Erin/Old:three.test:8448")
KEY = SigningKey.from_seed("ed25519:1", bytes(32))
IDENTITY_KEY = SigningKey.from_seed("ed25519:id", bytes([1]) * 32)
OTHER_KEY = SigningKey.from_seed("ed25519:id", bytes([2]) * 32)

MEMBERSHIPS = ("join", "invite", "leave", "ban", "knock")
JOIN_RULES = ("public", "invite", "knock", "restricted", "knock_restricted", "private")
EVENT_TYPES = ("m.room.message", "m.room.topic", "m.room.power_levels", "m.room.redaction", "org.example.state")


@dataclass
class Checked:
    """One event, the state it met (event IDs), and our answers."""

    event: Event
    state: list[str]
    rejected: list[str]
    list_verdict: Verdict
    state_verdict: Verdict

    @property
    def allowed(self) -> bool:
        return isinstance(self.list_verdict, Allowed) and isinstance(self.state_verdict, Allowed)


@dataclass
class Room:
    """A growing room. `events` in the order they were made, rejected ones included."""

    rules: RoomRules
    random: Random
    create: Event
    room_id: str
    events: list[Event] = field(default_factory=list)
    state: dict[tuple[str, str], Event] = field(default_factory=dict)
    checked: list[Checked] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    tip: str = ""

    def send(
        self,
        event_type: str,
        sender: str,
        content: dict[str, Any],
        *,
        state_key: str | None = None,
        redacts: str | None = None,
        spoil_auth_events: bool = False,
    ) -> Checked:
        """Make an event on top of the room, check it, and let it into the state if it is allowed."""
        auth_events = self._auth_events(event_type, sender, state_key, content)
        if spoil_auth_events:
            self._spoil(auth_events)
        event = build(
            self.rules,
            self.room_id,
            event_type,
            sender,
            content,
            state_key=state_key,
            redacts=redacts,
            auth_event_ids=[event.event_id for event in auth_events],
            prev_event_ids=[self.tip],
            depth=len(self.events) + 1,
            origin_server_ts=1_700_000_000_000 + self.random.randrange(40),
        )
        checked = Checked(
            event,
            [entry.event_id for entry in self.state.values()],
            list(self.rejected),
            check_auth_events_list(event, auth_events, self.rules, rejected_event_ids=self.rejected),
            check_auth(event, self.state, self.rules, create=self.create),
        )
        self.events.append(event)
        self.checked.append(checked)
        if checked.allowed:
            self.tip = event.event_id
            if event.state_key is not None:
                self.state[event.type, event.state_key] = event
        else:
            self.rejected.append(event.event_id)
        return checked

    def fork(self, name: object, state: dict[tuple[str, str], Event] | None = None) -> Room:
        """A copy that goes its own way from here, or from another state."""
        return Room(
            self.rules,
            Random(f"{self.random.random()} {name}"),
            self.create,
            self.room_id,
            list(self.events),
            dict(self.state if state is None else state),
            rejected=list(self.rejected),
            tip=self.tip,
        )

    def grow(self, steps: int) -> None:
        """Add events by chance."""
        for _ in range(steps):
            _step(self)

    def membership_of(self, user: str) -> object:
        """The user's membership in the current state, None where there is none."""
        member = self.state.get(("m.room.member", user))
        return None if member is None else member.content.get("membership")

    def _auth_events(self, event_type: str, sender: str, state_key: str | None, content: dict[str, Any]) -> list[Event]:
        selected = auth_types(event_type, sender, state_key, content, self.rules)
        return [self.state[place] for place in sorted(selected) if place in self.state]

    def _spoil(self, auth_events: list[Event]) -> None:
        """Leave one out, take a needless one, one twice, or a rejected one."""
        choice = self.random.randrange(4)
        if choice == 0 and auth_events:
            auth_events.pop(self.random.randrange(len(auth_events)))
        elif choice == 1:
            auth_events.append(self.random.choice(list(self.state.values())))
        elif choice == 2:
            auth_events.append(self.random.choice(self.events))
        elif self.rejected:
            bad = self.random.choice(self.rejected)
            auth_events.append(next(event for event in self.events if event.event_id == bad))
        if not self.rules.create_event_in_auth_events:  # Synapse refuses that before it authorises
            auth_events[:] = [event for event in auth_events if event is not self.create]
        del auth_events[10:]


def build(rules: RoomRules, room_id: str | None, event_type: str, sender: str, content: Any, **more: Any) -> Event:
    """An event with the defaults that do not matter here."""
    server = server_name_of(sender)
    given = {"state_key": None, "auth_event_ids": [], "prev_event_ids": [], "depth": 1} | more
    return build_event(
        rules=rules,
        room_id=room_id,
        type=event_type,
        sender=sender,
        content=content,
        origin_server_ts=given.pop("origin_server_ts", 1_700_000_000_000 + given["depth"]),
        server_name=server,
        signing_key=KEY,
        event_id=None if rules.event_ids_are_hashes else f"${_opaque_id(event_type, sender, content, given)}:{server}",
        **given,
    )


def _opaque_id(*event: Any) -> str:
    return hashlib.sha256(repr(event).encode()).hexdigest()[:12]


def new_room(version: str, seed: object, **create_content: Any) -> Room:
    """A room in which only ALICE's create event has happened."""
    rules = ROOM_RULES[version]
    content: dict[str, Any] = {"room_version": version} | create_content
    if rules.creator_in_content:
        content.setdefault("creator", ALICE)
    room_id = None if rules.room_id_is_create_event_id else "!room:one.test"
    create = build(rules, room_id, "m.room.create", ALICE, content, state_key="")
    return Room(
        rules,
        Random(f"{version} {seed}"),
        create,
        create.room_id,
        [create],
        {("m.room.create", ""): create},
        tip=create.event_id,
    )


def random_room(version: str, seed: int, length: int) -> Room:
    """A room of `length` events, or of less when nobody is left in it who could do more."""
    random = Random(f"create {version} {seed}")
    create_content: dict[str, Any] = {}
    if random.random() < 0.5:
        create_content["additional_creators"] = random.sample(USERS[1:], random.randrange(3))
    room = new_room(version, seed, **create_content)
    room.send("m.room.member", ALICE, {"membership": "join"}, state_key=ALICE)
    if random.random() < 0.8:
        room.send("m.room.power_levels", ALICE, _levels(room, tame=True), state_key="")
    if random.random() < 0.8:
        room.send("m.room.join_rules", ALICE, {"join_rule": random.choice(JOIN_RULES)}, state_key="")
    while len(room.events) < length and any(room.membership_of(user) == "join" for user in USERS):
        _step(room)
    return room


def _step(room: Room) -> None:
    random = room.random
    joined = [user for user in USERS if room.membership_of(user) == "join"]
    sender = random.choice(joined) if joined and random.random() < 0.8 else random.choice(USERS)
    spoil = random.random() < 0.1
    action = random.choices(
        ("member", "levels", "join_rules", "message", "state", "redaction", "third_party", "aliases"),
        (10, 4, 2, 2, 2, 2, 2, 1),
    )[0]
    if action == "member":
        _member(room, sender, spoil)
    elif action == "levels":
        state_key = "" if random.random() < 0.95 else None
        if state_key == "":
            room.send("m.room.power_levels", sender, _levels(room), state_key="", spoil_auth_events=spoil)
    elif action == "join_rules":
        rule = random.choice((*JOIN_RULES, 5, None))
        room.send("m.room.join_rules", sender, {"join_rule": rule}, state_key="", spoil_auth_events=spoil)
    elif action == "message":
        room.send(random.choice(EVENT_TYPES[:1]), sender, {"body": "hello"}, spoil_auth_events=spoil)
    elif action == "state":
        state_key = random.choice(("", "x", "@", sender, random.choice(USERS), "@nobody"))
        room.send(random.choice(EVENT_TYPES[1::3]), sender, {}, state_key=state_key, spoil_auth_events=spoil)
    elif action == "redaction":
        room.send("m.room.redaction", sender, {}, redacts=random.choice(room.events).event_id, spoil_auth_events=spoil)
    elif action == "aliases":
        state_key = random.choice((None, "", "one.test", "two.test", server_name_of(sender)))
        room.send("m.room.aliases", sender, {"aliases": []}, state_key=state_key, spoil_auth_events=spoil)
    else:
        _third_party_invite(room, sender, spoil)


def _member(room: Room, sender: str, spoil: bool) -> None:
    random = room.random
    content: dict[str, Any] = {"membership": random.choices(MEMBERSHIPS, (6, 6, 2, 1, 2))[0]}
    own = {"join": 0.95, "knock": 0.9, "leave": 0.3}.get(content["membership"], 0.05)
    if content["membership"] in ("join", "knock"):
        sender = random.choice(USERS)
    target = sender if random.random() < own else random.choice(USERS)
    if content["membership"] == "join" and random.random() < 0.5:
        content["join_authorised_via_users_server"] = random.choice((*USERS, "@nobody:one.test"))
    if random.random() < 0.04:
        content["membership"] = random.choice(("", "joined", 1, None))
    if content["membership"] == "invite" and random.random() < 0.3:
        content["third_party_invite"] = _redemption(room, target)
    state_key = target if random.random() < 0.97 else random.choice(("", "nobody"))
    room.send("m.room.member", sender, content, state_key=state_key, spoil_auth_events=spoil)


def _third_party_invite(room: Room, sender: str, spoil: bool) -> None:
    random = room.random
    key = encode_base64(random.choice((IDENTITY_KEY, OTHER_KEY)).public_key)
    more = encode_base64(random.choice((IDENTITY_KEY, OTHER_KEY)).public_key)
    content: dict[str, Any] = {"display_name": "a...", "public_key": key, "key_validity_url": "https://id.test"}
    if random.random() < 0.5:
        content["public_keys"] = [{"public_key": more}]
    token = random.choice(("token1", "token2"))
    room.send("m.room.third_party_invite", sender, content, state_key=token, spoil_auth_events=spoil)


def _redemption(room: Room, target: str) -> Any:
    random = room.random
    signed: dict[str, Any] = {"mxid": target, "token": random.choice(("token1", "token2", "token3"))}
    if random.random() < 0.1:
        signed["mxid"] = random.choice(USERS)
    signed = sign_json(signed, "id.test", IDENTITY_KEY)
    if random.random() < 0.1:
        signed["extra"] = "not signed"
    if random.random() < 0.1:
        signed.pop(random.choice(("mxid", "token", "signatures")))
    if random.random() < 0.05:
        return random.choice(({}, {"signed": None}, {"signed": "x"}, "x", None))
    return {"display_name": "a...", "signed": signed}


def _levels(room: Room, *, tame: bool = False) -> dict[str, Any]:
    """A power levels content: the current one with some changes, well formed unless chance wants otherwise."""
    random = room.random
    current = room.state.get(("m.room.power_levels", ""))
    content: dict[str, Any] = {"users": {}} if current is None else dict(current.content)
    if current is None and not room.rules.privileged_creators:
        content["users"] = {ALICE: 100}

    # Until version 9 the first levels of a room may hold rubbish, on which Synapse crashes ever after.
    unreadable = not tame and (room.rules.integer_power_levels or current is not None)

    def level() -> Any:
        value = random.choice((-1, 0, 10, 25, 49, 50, 51, 75, 99, 100, 101))
        if tame or random.random() < 0.93:
            return value
        if not unreadable or random.random() < 0.5:
            return random.choice((str(value), f" +{abs(value)} ", f"00{abs(value)}"))
        return random.choice(("x", "", "5.5", [], {}))

    for name in ("ban", "kick", "invite", "redact", "events_default", "state_default", "users_default"):
        if random.random() < 0.12:
            content[name] = level()
        elif random.random() < 0.05:
            content.pop(name, None)
    for table, keys in (("users", USERS), ("events", EVENT_TYPES), ("notifications", ("room", "other"))):
        entries = dict(content.get(table) or {})
        for key in keys:
            if random.random() < 0.12:
                entries[key] = level()
            elif random.random() < 0.05:
                entries.pop(key, None)
        content[table] = entries
    if not tame and random.random() < 0.03:
        content["users"] = random.choice(([], {"nobody": 5}, "x"))
    if unreadable and random.random() < 0.02:
        content["events"] = random.choice((5, "x"))
    return content
