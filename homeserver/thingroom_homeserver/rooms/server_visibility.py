"""Which events of a room another server may see: those that one of its users there may.

Runs on a reader's connection. May import core and storage. Source: Client-Server API, "Room History Visibility".
Used by every endpoint that gives events to other servers; visibility.py answers the same for one user.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thingroom_homeserver.core.event import redacted_event
from thingroom_homeserver.core.event_visibility import visibility_of
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.server_users import users_of_server
from thingroom_homeserver.storage.state_groups import entries_of_group, state_of_group

MEMBER = "m.room.member"
VISIBILITY = ("m.room.history_visibility", "")
FEW_USERS = 20
"""Up to so many users of the server are looked up one by one; of more, the whole state is read."""


def pdus_for_server(
    rooms: Rooms, connection: Reader, room_id: str, server: str, events: Sequence[StoredEvent]
) -> list[JsonObject]:
    """The PDUs of events of one room, in order; what the server's users may not see is redacted.

    So is what users wrote who had it erased, unless one of the server's users was there before.
    """
    seen = visible_to_server(rooms, connection, room_id, server, events)
    shown = {
        stored.event_id
        for stored in events
        if stored.event_id in seen and not rooms.erasures.hides_from_server(connection, server, stored)
    }
    return [stored.event.pdu if stored.event_id in shown else redacted_event(stored.event).pdu for stored in events]


def visible_to_server(
    rooms: Rooms, connection: Reader, room_id: str, server: str, events: Iterable[StoredEvent]
) -> set[str]:
    """The ids of those of the events that a user of the server, which is in the room, may see.

    State at an outlier is not known; outliers are state that servers need for their own checks, and are given.
    """
    seen: set[str] = set()
    users: list[str] | None = None
    best: dict[int, str] = {}
    for stored in events:
        group = stored.state_group
        if group is None:
            seen.add(stored.event_id)
            continue
        visibilities = _visibilities(rooms, connection, stored, group)
        # `shared`: some user of the server has joined since, for one is joined now.
        if not visibilities <= {"invited", "joined"}:
            seen.add(stored.event_id)
            continue
        if users is None:
            users = users_of_server(connection, room_id, server)
        if group not in best:
            best[group] = _best_membership(rooms, connection, group, users)
        memberships = {best[group], _own_before(rooms, connection, stored, server)}
        if "join" in memberships or ("invite" in memberships and "invited" in visibilities):
            seen.add(stored.event_id)
    return seen


def _visibilities(rooms: Rooms, connection: Reader, stored: StoredEvent, group: int) -> set[str]:
    """The history visibility after the event and, where the event changes it, before it."""
    ids = {entries_of_group(connection, group, [VISIBILITY]).get(VISIBILITY)}
    if (stored.event.type, stored.event.state_key) == VISIBILITY:
        ids.add(stored.replaces_state)
    found = [None if event_id is None else rooms.events.get(connection, event_id) for event_id in ids]
    return {visibility_of(None if stored is None else stored.event) for stored in found}


def _own_before(rooms: Rooms, connection: Reader, stored: StoredEvent, server: str) -> str:
    """For a member event of a user of the server: the membership that it replaced."""
    event = stored.event
    if event.type != MEMBER or stored.replaces_state is None or (event.state_key or "").partition(":")[2] != server:
        return "leave"
    before = rooms.events.get(connection, stored.replaces_state)
    return "leave" if before is None else str(before.event.content.get("membership"))


def _best_membership(rooms: Rooms, connection: Reader, group: int, users: Sequence[str]) -> str:
    """The membership of the server's users in the state of the group that lets see the most."""
    if len(users) <= FEW_USERS:
        entries = entries_of_group(connection, group, [(MEMBER, user_id) for user_id in users])
    else:
        state, wanted = state_of_group(connection, group), set(users)
        entries = {key: event_id for key, event_id in state.items() if key[0] == MEMBER and key[1] in wanted}
    found = rooms.events.get_many(connection, entries.values()).values()
    memberships = {stored.event.content.get("membership") for stored in found}
    return "join" if "join" in memberships else "invite" if "invite" in memberships else "leave"
