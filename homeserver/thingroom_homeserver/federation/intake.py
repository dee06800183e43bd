"""Taking events in, inside a write function: received, or staged until their ancestors are here, and whoever waited.

May import rooms, storage and core. Called by inbox.py for what arrives and by missing.py for what was fetched.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.core.event import Event, load_stored_pdu
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.receipt_outcomes import Missing, Received, UnknownRoom
from thingroom_homeserver.rooms.receive_event import receive_event
from thingroom_homeserver.storage.staged_events import hurry_event, stage_event, unstage_event, waiting_for
from thingroom_homeserver.storage.state_groups import StateKey

MAX_FOLLOWERS = 200
"""How many waiting events one write takes in besides those it was called for; the rest is left to the inbox."""
WRITE_SECONDS = 0.03
"""After so long a write leaves the rest to the next: nobody is answered meanwhile, and in a large room an event that
forks the state takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Events that came together. `room_left`: how many of them may wait on disk; more are dropped."""

    origin: str
    now_ms: int
    room_left: int


@dataclass(frozen=True, slots=True)
class Dropped:
    """There was no room for the event to wait in. Nothing of it is kept."""


def take_in(
    rooms: Rooms, transaction: Transaction, arrival: Arrival, ordered: Iterable[Event], seconds: float = WRITE_SECONDS
) -> dict[str, Received | Dropped]:
    """Receive the first events, at least one, until `seconds` are over. They come ancestors first.

    One that misses something waits on disk (Missing), or is Dropped.
    """
    outcomes: dict[str, Received | Dropped] = {}
    left = arrival.room_left
    until = time.perf_counter() + seconds
    for event in ordered:
        if outcomes and time.perf_counter() > until:
            break
        outcome: Received | Dropped = receive(rooms, transaction, event, now_ms=arrival.now_ms)
        if isinstance(outcome, Missing):
            missing = (*outcome.prev_event_ids, *outcome.auth_event_ids)
            if left > 0:
                json = encode_json(event.pdu)
                left -= stage_event(
                    transaction, event.event_id, event.room_id, arrival.origin, arrival.now_ms, json, missing
                )
            else:
                outcome = Dropped()
        outcomes[event.event_id] = outcome
    return outcomes


def receive(
    rooms: Rooms,
    transaction: Transaction,
    event: Event,
    *,
    now_ms: int,
    state_before: Mapping[StateKey, str] | None = None,
    send_out: bool = False,
) -> Received:
    """Receive one event and, if it is here then, those that waited for it and wait for nothing else.

    `send_out`: this server is to send the event to the others.
    """
    outcome = receive_event(rooms, transaction, event, state_before=state_before, send_out=send_out)
    if isinstance(outcome, Missing | UnknownRoom):
        return outcome
    unstage_event(transaction, event.event_id)
    _receive_followers(rooms, transaction, event, now_ms, time.perf_counter() + WRITE_SECONDS)
    return outcome


def _receive_followers(rooms: Rooms, transaction: Transaction, event: Event, now_ms: int, until: float) -> None:
    arrived = deque([event.event_id])
    taken = 0
    while arrived:
        for staged in waiting_for(transaction, arrived.popleft()):
            if taken == MAX_FOLLOWERS or time.perf_counter() > until:
                hurry_event(transaction, staged.event_id, now_ms)
                continue
            follower = load_stored_pdu(staged.json, staged.event_id, event.room_version)
            if not isinstance(receive_event(rooms, transaction, follower), Missing | UnknownRoom):
                unstage_event(transaction, staged.event_id)
                arrived.append(staged.event_id)
                taken += 1


def in_graph_order(events: Iterable[Event]) -> list[Event]:
    """The events, each after those of its prev events that are among them; otherwise as they came.

    Events in a cycle, which only a liar can make, come last and wait for each other until they are given up.
    """
    by_id = {event.event_id: event for event in events}
    waits_for = {name: sum(prev in by_id for prev in set(event.prev_event_ids)) for name, event in by_id.items()}
    followers: dict[str, list[str]] = {}
    for name, event in by_id.items():
        for prev in set(event.prev_event_ids):
            if prev in by_id:
                followers.setdefault(prev, []).append(name)
    ready = deque(name for name, count in waits_for.items() if count == 0)
    ordered: dict[str, Event] = {}
    while ready:
        name = ready.popleft()
        ordered[name] = by_id[name]
        for follower in followers.get(name, ()):
            waits_for[follower] -= 1
            if waits_for[follower] == 0:
                ready.append(follower)
    return [*ordered.values(), *(event for name, event in by_id.items() if name not in ordered)]
