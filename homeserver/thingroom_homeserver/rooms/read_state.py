"""The state of a room as a user may see it: now for members, as they left it for those who left.

Runs on a reader's connection. May import core and storage. Source: Client-Server API, "Getting events for a room".
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.core.event_visibility import visibility_of
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import (
    MEMBER,
    StateKey,
    changes_after,
    current_entry,
    load_current_state,
    rewind,
)
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import last_joined_position, membership_of

NOT_A_MEMBER = Refused(Why.FORBIDDEN, "You are not in this room")


@dataclass(frozen=True, slots=True)
class Access:
    """What part of a room's history a user may ask for: up to position `upto`; None: without end."""

    upto: int | None


def access_of(rooms: Rooms, connection: Reader, user_id: str, room_id: str) -> Access | Refused:
    """Members see the room as it is, former ones as it was when they left, anyone what is world readable."""
    if rooms.occupancy.is_joined(room_id, user_id):
        return Access(None)
    event_id = current_entry(connection, room_id, "m.room.history_visibility", "")
    stored = None if event_id is None else rooms.events.get(connection, event_id)
    if stored is not None and visibility_of(stored.event) == "world_readable":
        return Access(None)
    member = membership_of(connection, room_id, user_id)
    joined_until = None if member is None or member.forgotten else last_joined_position(connection, room_id, user_id)
    return NOT_A_MEMBER if joined_until is None else Access(joined_until)


def state_for(rooms: Rooms, connection: Reader, user_id: str, room_id: str) -> dict[StateKey, str] | Refused:
    """All of the state the user may see: event id by (type, state key)."""
    access = access_of(rooms, connection, user_id, room_id)
    if isinstance(access, Refused):
        return access
    return state_at(connection, room_id, access.upto)


def state_at(connection: Reader, room_id: str, position: int | None) -> dict[StateKey, str]:
    """The room's state after everything up to `position`; None: now."""
    state = load_current_state(connection, room_id)
    return state if position is None else rewind(state, changes_after(connection, room_id, position))


def entry_for(
    rooms: Rooms, connection: Reader, user_id: str, room_id: str, event_type: str, state_key: str
) -> str | Refused | None:
    """The event id of one entry; None if it is not set."""
    access = access_of(rooms, connection, user_id, room_id)
    if isinstance(access, Refused):
        return access
    if access.upto is None:
        return current_entry(connection, room_id, event_type, state_key)
    return state_at(connection, room_id, access.upto).get((event_type, state_key))


def members_for(
    rooms: Rooms, connection: Reader, user_id: str, room_id: str, position: int | None
) -> list[StoredEvent] | Refused:
    """The member events of the state at `position` (None: now, or when the user left), oldest first."""
    access = access_of(rooms, connection, user_id, room_id)
    if isinstance(access, Refused):
        return access
    ends = [end for end in (position, access.upto) if end is not None]
    state = state_at(connection, room_id, min(ends) if ends else None)
    ids = [event_id for key, event_id in state.items() if key[0] == MEMBER]
    found = rooms.events.get_many(connection, ids).values()
    return sorted(found, key=lambda stored: stored.position or 0)
