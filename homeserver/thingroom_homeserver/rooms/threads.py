"""The threads of a room: a page of their roots, the one with the newest event first.

May import core and storage. Source: Client-Server API, "Querying threads in a room". Next: relations.py.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from thingroom_homeserver.core.event import redacted_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.rooms.outcomes import Refused
from thingroom_homeserver.rooms.read_events import Seen
from thingroom_homeserver.rooms.read_state import access_of
from thingroom_homeserver.rooms.relations import has_participated
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.relations import threads_of_room

MAX_SCANNED = 1000
A_LOOK = 50


@dataclass(frozen=True, slots=True)
class Threads:
    """Roots with the viewer's membership after each; `end`: where the next page begins, None at the end."""

    roots: Seen
    end: int | None


def read_threads(
    rooms: Rooms, connection: Reader, user_id: str, room_id: str, start: int | None, limit: int, *, participated: bool
) -> Threads | Refused:
    """A page of threads whose newest event is at or before `start` (None: of all). Roots of ignored users are bare."""
    access = access_of(rooms, connection, user_id, room_id)
    if isinstance(access, Refused):
        return access
    ends = [end for end in (start, access.upto, rooms.notifier.position) if end is not None]
    upto = min(ends)
    ignored = ignored_users(connection, user_id)
    roots: Seen = []
    for _ in range(MAX_SCANNED // A_LOOK):
        threads = threads_of_room(connection, room_id, upto=upto, limit=A_LOOK)
        found = rooms.events.get_many(connection, [root_id for root_id, _ in threads])
        for root_id, latest in threads:
            upto = latest - 1
            root = found.get(root_id)
            if root is None or root.event.room_id != room_id:
                continue
            if participated and not has_participated(connection, root, user_id, rooms.notifier.position):
                continue
            seen = rooms.visibility.visible(connection, user_id, room_id, [root])
            if root.event.sender in ignored:
                seen = [(replace(stored, event=redacted_event(stored.event)), own) for stored, own in seen]
            roots += seen
            if len(roots) == limit:
                more = threads_of_room(connection, room_id, upto=upto, limit=1)
                return Threads(roots, upto if more else None)
        if len(threads) < A_LOOK:
            return Threads(roots, None)
    return Threads(roots, upto)
