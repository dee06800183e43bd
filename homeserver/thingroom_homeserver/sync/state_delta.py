"""The `state` of one room in a /sync: what the client must know before it applies the timeline.

For a client that knows the room: what changed since, up to the timeline's start, and what changed later but is not in
the timeline. For one that does not: everything at the timeline's start. A client that folds `state` and `timeline`
into what it knew has the room's current state. May import rooms and storage. Source: Client-Server API, "Syncing".
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import (
    MEMBER,
    StateKey,
    changes_after,
    changes_between,
    current_entry,
    load_current_state,
    load_state_without_members,
    rewind,
)
from thingroom_homeserver.sync.timeline import Timeline


def state_delta(
    connection: Reader,
    room_id: str,
    timeline: Timeline,
    *,
    since: int,
    upto: int,
    at_end: bool,
) -> dict[StateKey, str]:
    """What changed at since < position: for a client that knows the room as it was at `since`."""
    changed = changes_between(connection, room_id, since, upto)
    if not changed:
        return {}
    if at_end:
        return {key: change.after for key, change in changed.items() if change.after is not None}
    told = told_by(timeline)
    before_timeline = changes_between(connection, room_id, since, timeline.start) if timeline.start > since else {}
    delta: dict[StateKey, str] = {}
    for key, change in changed.items():
        last = before_timeline.get(key) if key in told else change
        if last is not None and last.after is not None:
            delta[key] = last.after
    return delta


def whole_state(
    connection: Reader,
    room_id: str,
    timeline: Timeline,
    *,
    upto: int,
    at_end: bool,
    members: Iterable[str] | None,
) -> dict[StateKey, str]:
    """Everything: for a client that does not know the room. `members`: only these users' member events, if not None."""
    if members is None:
        state = load_current_state(connection, room_id)
        wanted = None
    else:
        wanted = set(members)
        state = load_state_without_members(connection, room_id)
        state |= member_entries(connection, room_id, wanted)
    state = rewind(state, changes_after(connection, room_id, upto))
    if not at_end:
        told = told_by(timeline)
        since_start = changes_between(connection, room_id, timeline.start, upto)
        state = rewind(state, {key: change for key, change in since_start.items() if key in told})
    if wanted is None:
        return state
    return {key: event_id for key, event_id in state.items() if key[0] != MEMBER or key[1] in wanted}


def members_at(
    connection: Reader, room_id: str, users: Iterable[str], timeline: Timeline, *, upto: int, at_end: bool
) -> dict[StateKey, str]:
    """The member events of `users` at the timeline's start, or its end: what lazy loading adds."""
    state = rewind(member_entries(connection, room_id, users), changes_after(connection, room_id, upto))
    if not at_end:
        state = rewind(state, changes_between(connection, room_id, timeline.start, upto))
    wanted = set(users)
    return {key: event_id for key, event_id in state.items() if key[0] == MEMBER and key[1] in wanted}


def member_entries(connection: Reader, room_id: str, users: Iterable[str]) -> dict[StateKey, str]:
    """The current member events of `users`."""
    found = {}
    for user_id in users:
        event_id = current_entry(connection, room_id, MEMBER, user_id)
        if event_id is not None:
            found[MEMBER, user_id] = event_id
    return found


def told_by(timeline: Timeline) -> set[StateKey]:
    """The entries of the state that the timeline's events set."""
    return {
        (stored.event.type, stored.event.state_key)
        for stored, _ in timeline.events
        if stored.event.state_key is not None
    }
