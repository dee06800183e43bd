"""The timeline of one room in a /sync: the newest events of a span that the user may see and wants.

May import rooms and storage. Next: state_delta.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.event_filter import EventFilter
from thingroom_homeserver.rooms.ignoring import is_unheard
from thingroom_homeserver.rooms.read_events import BEFORE_ALL, MAX_SCANNED, Seen
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events in order, each with the viewer's membership after it.

    start: the position before the first of them; going back from there, /messages continues without gap or overlap.
    limited: whether older events of the span were left out.
    """

    events: Seen
    start: int
    limited: bool


def read_timeline(
    rooms: Rooms,
    connection: Reader,
    user_id: str,
    room_id: str,
    *,
    since: int | None,
    upto: int,
    limit: int,
    event_filter: EventFilter,
    ignored: frozenset[str] = frozenset(),
) -> Timeline:
    """The newest `limit` events at since < position <= upto (since None: from the room's beginning).

    Left out are messages of `ignored` users.
    """
    above = BEFORE_ALL if since is None else since
    if not event_filter.allows_room(room_id):
        return Timeline([], upto, False)
    if limit == 0:
        there = rooms.events.timeline(connection, room_id, above=above, upto=upto, limit=1, backwards=True)
        return Timeline([], upto, bool(there))
    newest_first: Seen = []
    scanned, edge = 0, upto
    while True:
        wanted = limit + 1 - len(newest_first)
        rows = rooms.events.timeline(connection, room_id, above=above, upto=edge, limit=wanted, backwards=True)
        passing = [
            stored for stored in rows if event_filter.allows(stored.event) and not is_unheard(stored.event, ignored)
        ]
        newest_first += rooms.visibility.visible(connection, user_id, room_id, passing)
        scanned += len(rows)
        if len(newest_first) > limit:
            kept = newest_first[:limit]
            return Timeline(kept[::-1], _position(kept[-1][0]) - 1, True)
        if len(rows) < wanted:
            start = above if since is not None else (_position(newest_first[-1][0]) - 1 if newest_first else upto)
            return Timeline(newest_first[::-1], start, False)
        edge = _position(rows[-1]) - 1
        if scanned >= MAX_SCANNED:
            return Timeline(newest_first[::-1], edge, True)


def _position(stored: StoredEvent) -> int:
    position = stored.position
    assert position is not None
    return position
