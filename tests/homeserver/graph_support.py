"""Servers in memory that share one room, some of them lying; and receipt by the words of the specification, naively.

Nothing in the model has groups, differences or caches: a state is a whole dictionary, extremities are found by walking
the whole graph. `Receiver` is the real thing over a database.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from hypothesis import strategies as st
from tests.homeserver.room_support import House, open_house

from thingroom_common.database import Transaction
from thingroom_homeserver.core.auth_rules import (
    Allowed,
    auth_types,
    auth_types_for_event,
    check_auth,
    check_auth_events_list,
)
from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.hashing import reference_hash
from thingroom_homeserver.core.identifiers import server_name_of
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules
from thingroom_homeserver.core.signing import SigningKey
from thingroom_homeserver.core.state_resolution import resolve
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.gaps import gaps_between, import_history, missing_states
from thingroom_homeserver.rooms.import_room import import_joined_room
from thingroom_homeserver.rooms.outliers import store_outliers
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Missing, Received, Rejected, SoftFailed
from thingroom_homeserver.rooms.receive_event import receive_event
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.current_state import load_current_state
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import joined_local_users
from thingroom_homeserver.storage.rooms import forward_extremities
from thingroom_homeserver.storage.state_groups import state_of_group

StateKey = tuple[str, str]
State = dict[StateKey, str]

KEY = SigningKey.from_seed("ed25519:world", bytes([7]) * 32)
ALICE, BOB, CAROL, DAVE, READER = (
    "@alice:one.test",
    "@bob:two.test",
    "@carol:three.test",
    "@dave:two.test",
    "@reader:localhost",
)
PEOPLE = (ALICE, BOB, CAROL, DAVE)
SERVERS = ("one.test", "two.test", "three.test")
LEVELS: StateKey = ("m.room.power_levels", "")
CREATE: StateKey = ("m.room.create", "")


class Model:
    """One server's knowledge of the room, as the specification tells it."""

    def __init__(self, rules: RoomRules) -> None:
        self.rules = rules
        self.events: dict[str, Event] = {}
        self.after: dict[str, State] = {}
        self.verdicts: dict[str, str] = {}
        self.current: State = {}
        self.history: dict[str, State] = {}

    def receive(self, event: Event) -> str:
        """Steps 4 to 6; its prev and auth events were received before."""
        before = self.state_before(event.prev_event_ids)
        verdict = "accepted"
        if not self._allowed_by_auth_events(event) or not self.allowed_by(event, before):
            verdict = "rejected"
        elif event.prev_event_ids and not self.allowed_by(event, self.current):
            verdict = "soft"
        self.events[event.event_id] = event
        self.verdicts[event.event_id] = verdict
        after = dict(before)
        if event.state_key is not None and verdict != "rejected":
            after[event.type, event.state_key] = event.event_id
        self.after[event.event_id] = after
        self.current = self.resolve([self.after[each] for each in sorted(self.extremities())])
        self.history[event.event_id] = self.current
        return verdict

    def state_before(self, prev_event_ids: Iterable[str]) -> State:
        return self.resolve([self.after[each] for each in prev_event_ids])

    def extremities(self) -> set[str]:
        """Accepted events that no accepted event follows, however indirectly."""
        accepted = {event_id for event_id, verdict in self.verdicts.items() if verdict == "accepted"}
        followed: set[str] = set()
        pending = [previous for event_id in accepted for previous in self.events[event_id].prev_event_ids]
        while pending:
            event_id = pending.pop()
            if event_id not in followed:
                followed.add(event_id)
                pending += self.events[event_id].prev_event_ids
        return accepted - followed

    def resolve(self, states: Sequence[State]) -> State:
        if not states:
            return {}
        return resolve(self.rules, states, self.events.get, is_rejected=lambda each: self.verdicts[each] == "rejected")

    def allowed_by(self, event: Event, state: Mapping[StateKey, str]) -> bool:
        if event.type == "m.room.create":
            return isinstance(check_auth(event, {}, self.rules, create=event), Allowed)
        keys = auth_types_for_event(event, self.rules)
        found = {key: self.events[state[key]] for key in keys if key in state}
        return isinstance(check_auth(event, found, self.rules, create=self.create), Allowed)

    @property
    def create(self) -> Event:
        return next(event for event in self.events.values() if event.type == "m.room.create")

    def _allowed_by_auth_events(self, event: Event) -> bool:
        if event.type == "m.room.create":
            return True
        events = [self.events[each] for each in event.auth_event_ids]
        rejected = {each for each in event.auth_event_ids if self.verdicts[each] == "rejected"}
        listed = check_auth_events_list(event, events, self.rules, rejected_event_ids=rejected)
        by_place = {(each.type, str(each.state_key)): each for each in events}
        allowed = check_auth(event, by_place, self.rules, create=self.create)
        return isinstance(listed, Allowed) and isinstance(allowed, Allowed)


@dataclass
class World:
    """The room as several servers know it; `made` has every event in an order in which it could be received."""

    version: str
    seed: int = 0
    made: list[Event] = field(default_factory=list)
    models: dict[str, Model] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rules = ROOM_RULES[self.version]
        self.random = Random(self.seed)
        self.models = {name: Model(self.rules) for name in SERVERS}
        self.room_id = "" if self.rules.room_id_is_create_event_id else "!room:one.test"
        self._clock = 1_700_000_000_000
        self._begin()

    def _begin(self) -> None:
        content = {"room_version": self.version}
        if self.rules.creator_in_content:
            content["creator"] = ALICE
        create = self.build(ALICE, "m.room.create", content, "", model=None)
        self.room_id = create.room_id
        self.tell(create)
        self.act(ALICE, "m.room.member", {"membership": "join"}, ALICE)
        users = {} if self.rules.privileged_creators else {ALICE: 100}
        levels = {"users": {**users, BOB: 50}, "events": {"m.room.topic": 0}, "users_default": 0, "state_default": 50}
        self.act(ALICE, "m.room.power_levels", levels, "")
        self.act(ALICE, "m.room.join_rules", {"join_rule": "public"}, "")
        self.act(ALICE, "m.room.history_visibility", {"history_visibility": "shared"}, "")
        for user_id in (BOB, CAROL, DAVE):
            self.share()
            joined = self.act(user_id, "m.room.member", {"membership": "join"}, user_id)
            assert joined is not None
        self.share()
        self.before_reader = list(self.made)
        self.act(READER, "m.room.member", {"membership": "join"}, READER, server="one.test")
        self.share()
        self.joined = self.made[-1]

    def build(
        self,
        sender: str,
        kind: str,
        content: dict[str, Any],
        state_key: str | None,
        *,
        model: Model | None,
        prevs: Sequence[str] | None = None,
        auth_state: State | None = None,
        redacts: str | None = None,
    ) -> Event:
        """An event on top of what the model knows, or of `prevs`."""
        self._clock += self.random.randint(0, 2)
        old = not self.rules.event_ids_are_hashes
        prev_ids: list[str] = []
        auth_ids: list[str] = []
        depth = 1
        if model is not None:
            prev_ids = sorted(model.extremities()) if prevs is None else list(prevs)
            state = model.state_before(prev_ids) if auth_state is None else auth_state
            keys = auth_types(kind, sender, state_key, content, self.rules)
            auth_ids = [state[key] for key in sorted(keys) if key in state]
            depth = max(model.events[each].depth for each in prev_ids) + 1
        hashes = (
            {}
            if model is None
            else {each: reference_hash(model.events[each].pdu, self.rules) for each in (*prev_ids, *auth_ids)}
        )
        made_of_id = kind == "m.room.create" and self.rules.room_id_is_create_event_id
        return build_event(
            rules=self.rules,
            room_id=None if made_of_id else self.room_id,
            type=kind,
            state_key=state_key,
            sender=sender,
            content=content,
            auth_event_ids=auth_ids,
            prev_event_ids=prev_ids,
            depth=depth,
            origin_server_ts=self._clock,
            redacts=redacts,
            server_name=server_name_of(sender),
            signing_key=KEY,
            event_id=f"${len(self.made)}-{self.random.randint(0, 9999)}:{server_name_of(sender)}" if old else None,
            reference_hashes=hashes if old else {},
        )

    def tell(self, event: Event, servers: Iterable[str] = SERVERS) -> None:
        """The event is made, and known to these servers."""
        self.made.append(event)
        for name in servers:
            self.models[name].receive(event)

    def act(
        self,
        sender: str,
        kind: str,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        server: str | None = None,
        prevs: Sequence[str] | None = None,
        auth_state: State | None = None,
        redacts: str | None = None,
        lying: bool = False,
    ) -> Event | None:
        """The sender's server makes the event; an honest one only if that is allowed."""
        name = server or server_name_of(sender)
        model = self.models[name]
        event = self.build(
            sender, kind, content, state_key, model=model, prevs=prevs, auth_state=auth_state, redacts=redacts
        )
        if any(each.event_id == event.event_id for each in self.made):
            return None
        if not lying and not model.allowed_by(event, model.state_before(event.prev_event_ids)):
            return None
        self.tell(event, (name,))
        return event

    def share(self, one: str | None = None, other: str | None = None) -> None:
        """One server hears of everything that another knows; by default all of all."""
        pairs = [(one, other)] if one and other else [(a, b) for a in SERVERS for b in SERVERS if a != b]
        for source, target in pairs:
            for event in list(self.models[source].events.values()):
                if event.event_id not in self.models[target].events:
                    self.models[target].receive(event)

    def play(self, step: tuple[Any, ...]) -> None:
        """One step of `steps`."""
        kind, sender, *rest = step
        match kind:
            case "share":
                one, other = SERVERS[sender % 3], SERVERS[rest[0] % 3]
                if one != other:
                    self.share(one, other)
            case "say":
                self.act(sender, "m.room.message", {"msgtype": "m.text", "body": str(rest[0])})
            case "topic":
                self.act(sender, "m.room.topic", {"topic": str(rest[0])}, "")
            case "member":
                self.act(sender, "m.room.member", {"membership": rest[1]}, rest[0])
            case "levels":
                self.act(sender, "m.room.power_levels", self._levels(rest[0], rest[1], sender), "")
            case "rules":
                self.act(sender, "m.room.join_rules", {"join_rule": rest[0]}, "")
            case "redact":
                known = list(self.models[server_name_of(sender)].events)
                self.act(sender, "m.room.redaction", {}, redacts=known[rest[0] % len(known)])
            case "stale":
                self._act_stale(sender, *rest)
            case "forge":
                self._forge(sender, *rest)

    def _levels(self, user_id: str, level: int, sender: str) -> dict[str, Any]:
        model = self.models[server_name_of(sender)]
        now = model.current.get(LEVELS)
        content = dict(model.events[now].content) if now is not None else {}
        return {**content, "users": {**content.get("users", {}), user_id: level}}

    def _since_reader(self, model: Model) -> list[str]:
        """What the model knows from the reader's join on."""
        known = list(model.events)
        return known[known.index(self.joined.event_id) :]

    def _act_stale(self, sender: str, number: int, kind: str, target: str, membership: str) -> None:
        """On top of events chosen by `number`, whatever became of them, as if nothing had happened since."""
        model = self.models[server_name_of(sender)]
        known = self._since_reader(model)
        chosen = Random(number)
        prevs = sorted({chosen.choice(known) for _ in range(chosen.randint(1, 3))})
        if kind == "topic":
            self.act(sender, "m.room.topic", {"topic": f"stale {number}"}, "", prevs=prevs, lying=chosen.random() < 0.3)
        elif kind == "member":
            self.act(sender, "m.room.member", {"membership": membership}, target, prevs=prevs)
        elif kind == "levels":
            self.act(sender, "m.room.power_levels", self._levels(target, number % 101, sender), "", prevs=prevs)
        else:
            self.act(sender, "m.room.message", {"body": str(number)}, prevs=prevs)

    def _forge(self, sender: str, number: int, kind: str) -> None:
        """With auth events of another time than its prev events, or without the right."""
        model = self.models[server_name_of(sender)]
        chosen = Random(number)
        prevs = [chosen.choice(self._since_reader(model))]
        auth_state = dict(model.after[chosen.choice(list(model.events)[1:])])
        if number % 5 == 0 and auth_state:
            # One of the auth events is replaced by any other event of the same place, rejected ones among them.
            key = chosen.choice(sorted(auth_state))
            same = [each for each, event in model.events.items() if (event.type, event.state_key) == key]
            auth_state[key] = chosen.choice(same)
        content: dict[str, Any] = {"topic": f"forged {number}"} if kind == "m.room.topic" else {"membership": "join"}
        if kind == "m.room.power_levels":
            content = {"users": {sender: 100}}
        state_key = sender if kind == "m.room.member" else ""
        self.act(sender, kind, content, state_key, prevs=prevs, auth_state=auth_state, lying=True)


person = st.sampled_from(PEOPLE)
target = st.sampled_from((*PEOPLE, READER))
steps = st.lists(
    st.one_of(
        st.tuples(st.just("share"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("share"), st.integers(0, 2), st.integers(0, 2)),
        st.tuples(st.just("say"), person, st.integers(0, 9)),
        st.tuples(st.just("topic"), person, st.integers(0, 9)),
        st.tuples(st.just("topic"), person, st.integers(0, 9)),
        st.tuples(st.just("member"), person, target, st.sampled_from(("invite", "join", "leave", "ban"))),
        st.tuples(st.just("levels"), person, person, st.sampled_from((0, 50, 100))),
        st.tuples(st.just("rules"), person, st.sampled_from(("public", "invite"))),
        st.tuples(st.just("redact"), person, st.integers(0, 100)),
        st.tuples(
            st.just("stale"),
            person,
            st.integers(0, 1000),
            st.sampled_from(("topic", "member", "levels", "say")),
            target,
            st.sampled_from(("invite", "join", "leave", "ban")),
        ),
        st.tuples(
            st.just("forge"),
            person,
            st.integers(0, 1000),
            st.sampled_from(("m.room.topic", "m.room.member", "m.room.power_levels")),
        ),
    ),
    max_size=25,
)


class Stumbled(Exception):
    """A write failed in its last moment."""


@dataclass
class Receiver:
    """A real server that READER is on, joined to the world's room."""

    house: House
    world: World
    arrived: list[Event] = field(default_factory=list)
    outcomes: dict[str, Received] = field(default_factory=dict)

    async def join(self) -> None:
        """Take the room up from the state before the reader's join."""
        world, rooms = self.world, self.house.rooms
        state = world.models["one.test"].state_before(world.joined.prev_event_ids)

        def write(transaction: Transaction) -> Received:
            store_outliers(rooms, transaction, world.room_id, world.version, world.before_reader)
            return import_joined_room(
                rooms, transaction, room_version=world.version, membership_event=world.joined, state=state
            )

        outcome = await rooms.database.write(write)
        assert isinstance(outcome, Accepted), outcome

    async def receive(self, event: Event, **more: Any) -> Received:
        rooms = self.house.rooms
        outcome = await rooms.database.write(lambda transaction: receive_event(rooms, transaction, event, **more))
        if not isinstance(outcome, Missing):
            self.arrived.append(event)
            self.outcomes[event.event_id] = outcome
        return outcome

    async def receive_all(self, events: Iterable[Event], stumbling: Random | None = None) -> None:
        """In this order; what misses something waits until that is here. Some writes come to nothing if `stumbling`."""
        waiting = list(events)
        while waiting:
            left = []
            for number, event in enumerate(waiting):
                if stumbling is not None and stumbling.random() < 0.3:
                    await self.stumble(waiting[number : number + 3])
                if isinstance(await self.receive(event), Missing):
                    left.append(event)
            assert len(left) < len(waiting), "nothing goes on"
            waiting = left

    async def stumble(self, events: Sequence[Event]) -> None:
        """Receive them in a write that is undone."""

        def write(transaction: Transaction) -> None:
            for event in events:
                receive_event(self.house.rooms, transaction, event)
            raise Stumbled

        with contextlib.suppress(Stumbled):
            await self.house.rooms.database.write(write)

    async def fill_history(self, count: int) -> None:
        """Backfill up to `count` events of before the join, newest first."""
        rooms, model = self.house.rooms, self.world.models["one.test"]

        def write(transaction: Transaction) -> None:
            events = {event.event_id: event for event in self.world.before_reader}
            for gap in gaps_between(transaction, self.world.room_id, 0, 2**62):
                if not events.keys().isdisjoint(gap.missing):
                    newest = max(self.world.before_reader.index(events[each]) for each in gap.missing)
                    some = self.world.before_reader[: newest + 1][-count:][::-1]
                    told = {
                        each: model.state_before(events[each].prev_event_ids)
                        for each in missing_states(rooms, transaction, some)
                    }
                    import_history(rooms, transaction, self.world.room_id, gap, some, told)

        await rooms.database.write(write)

    def verdict(self, event_id: str) -> str:
        outcome = self.outcomes[event_id]
        names = {Accepted: "accepted", SoftFailed: "soft", Rejected: "rejected"}
        return names[type(outcome)]  # type: ignore[index]

    def state(self) -> State:
        return self.house.rooms.database.read(lambda c: load_current_state(c, self.world.room_id))

    def extremities(self) -> set[str]:
        return set(self.house.rooms.database.read(lambda c: forward_extremities(c, self.world.room_id)))

    def state_after(self, event_id: str) -> State | None:
        def read(connection: Any) -> State | None:
            stored = self.house.rooms.events.get(connection, event_id)
            assert stored is not None
            return None if stored.state_group is None else state_of_group(connection, stored.state_group)

        return self.house.rooms.database.read(read)


class Audience:
    """A watcher that keeps who is in the room as the notifications do: from what it is told alone."""

    def __init__(self) -> None:
        self.joined: set[str] | None = None

    def stored(self, rooms: Rooms, transaction: Transaction, room: Room, stored: StoredEvent) -> None:
        event = stored.event
        if self.joined is None:
            self.joined = set(joined_local_users(transaction, room.room_id))
        elif event.type == "m.room.member" and event.state_key is not None:
            self.joined.discard(event.state_key)
            if event.content.get("membership") == "join" and rooms.is_local(event.state_key):
                self.joined.add(event.state_key)
        transaction.after_rollback(self._forget)

    def members_changed(self, transaction: Transaction, room_id: str) -> None:
        self._forget()
        transaction.after_rollback(self._forget)

    def _forget(self) -> None:
        self.joined = None


@contextlib.asynccontextmanager
async def open_receiver(path: Path, world: World) -> AsyncIterator[Receiver]:
    async with open_house(path, watcher=Audience()) as house:
        receiver = Receiver(house, world)
        await receiver.join()
        yield receiver


def model_of_receiver(world: World) -> Model:
    """The naive model of a server that has taken up the room with the reader's join."""
    model = Model(world.rules)
    for event in (*world.before_reader, world.joined):
        model.receive(event)
    return model


def after_join(world: World) -> list[Event]:
    """What was made after the reader came."""
    earlier = {event.event_id for event in (*world.before_reader, world.joined)}
    return [event for event in world.made if event.event_id not in earlier]
