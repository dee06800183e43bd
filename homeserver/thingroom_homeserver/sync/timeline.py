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
from thingroom_homeserver.storage.current_state import StateKey, changes_after, changes_between, current_entry, rewind
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.gaps import newest_gap_edge


@dataclass(frozen=True, slots=True)
class Timeline:
    """Events in order, each with the viewer's membership after it.

    start: the position before the first of them; going back from there, /messages continues without gap or overlap.
    limited: whether older events of the span were left out, or are not here yet.
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

    It ends where the history has a gap: what is below comes with /messages, which fills it. Left out are messages of
    `ignored` users.
    """
    above = BEFORE_ALL if since is None else since
    if not event_filter.allows_room(room_id):
        return Timeline([], upto, False)
    gap = newest_gap_edge(connection, room_id, above, upto)
    if gap is not None:
        above = gap
    if limit == 0:
        there = rooms.events.timeline(connection, room_id, above=above, upto=upto, limit=1, backwards=True)
        return Timeline([], upto, bool(there) or gap is not None)
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
            if since is None and gap is None:
                above = _position(newest_first[-1][0]) - 1 if newest_first else upto
            return Timeline(newest_first[::-1], above, gap is not None)
        edge = _position(rows[-1]) - 1
        if scanned >= MAX_SCANNED:
            return Timeline(newest_first[::-1], edge, True)


def without_overruled(connection: Reader, room_id: str, timeline: Timeline, upto: int) -> Timeline:
    """The timeline from above the last state event which state resolution has overruled at `upto`.

    A client that takes a state from timelines would take that one for the room's. What is cut off it finds by going
    back, where nothing is taken from it.
    """
    last: dict[StateKey, tuple[int, str]] = {}
    for index, (stored, _) in enumerate(timeline.events):
        if stored.event.state_key is not None:
            last[stored.event.type, stored.event.state_key] = (index, stored.event_id)
    if not last:
        return timeline
    changes = changes_between(connection, room_id, timeline.start, upto)
    cut = 0
    for key, (index, event_id) in last.items():
        change = changes.get(key)
        now = _entry_at(connection, room_id, key, upto) if change is None else change.after
        if now != event_id:
            cut = max(cut, index + 1)
    if cut == 0:
        return timeline
    return Timeline(timeline.events[cut:], _position(timeline.events[cut - 1][0]), True)


def _entry_at(connection: Reader, room_id: str, key: StateKey, upto: int) -> str | None:
    now = current_entry(connection, room_id, *key)
    return rewind({} if now is None else {key: now}, changes_after(connection, room_id, upto)).get(key)


def _position(stored: StoredEvent) -> int:
    position = stored.position
    assert position is not None
    return position
