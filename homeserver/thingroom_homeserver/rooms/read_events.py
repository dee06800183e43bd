"""Reading a room's history: pages of it, one event, an event in its context, the event nearest to a time.

Runs on a reader's connection; nothing that a user may not see leaves here. May import core and storage.
Source: Client-Server API, "Getting events for a room", "Event Context". Next: visibility.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.event_filter import NO_FILTER, EventFilter
from thingroom_homeserver.rooms.ignoring import ignored_users, is_unheard
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject, Viewer, present_event, present_state
from thingroom_homeserver.rooms.read_state import access_of
from thingroom_homeserver.rooms.relations import aggregations
from thingroom_homeserver.rooms.tokens import page_token
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent, event_ids_near_time
from thingroom_homeserver.storage.relations import related_event_ids
from thingroom_homeserver.storage.state_groups import entries_of_group, state_of_group

BEFORE_ALL = -(2**62)
# How many events one request looks at in search of those that its filter lets through.
MAX_SCANNED = 2000
# How far indirect relations are followed.
RECURSION_DEPTH = 3
# How many events around a time may be hidden from the user before the search is given up.
MAX_NEAR_TIME = 100
NO_EVENT = Refused(Why.NOT_FOUND, "There is no such event, or you may not see it")

Seen = list[tuple[StoredEvent, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """Events with the viewer's membership after each; `end`: where the next page begins, None at the end."""

    events: Seen
    start: int
    end: int | None


@dataclass(frozen=True, slots=True)
class PageWish:
    """Which page: from a position (None: the end that `backwards` starts from), at most to another."""

    room_id: str
    start: int | None
    stop: int | None
    backwards: bool
    limit: int


def read_page(
    rooms: Rooms, connection: Reader, user_id: str, wish: PageWish, event_filter: EventFilter
) -> Page | Refused:
    """A page of /messages. Pages that begin at the one before's `end` neither overlap nor leave a gap."""
    access = access_of(rooms, connection, user_id, wish.room_id)
    if isinstance(access, Refused):
        return access
    newest = rooms.notifier.position
    upto = newest if access.upto is None else min(access.upto, newest)
    if wish.backwards:
        start = upto if wish.start is None else min(wish.start, newest)
        above = BEFORE_ALL if wish.stop is None else wish.stop
        return _scan(rooms, connection, user_id, wish, event_filter, start, above, min(start, upto))
    start = BEFORE_ALL if wish.start is None else wish.start
    stop = upto if wish.stop is None else min(wish.stop, upto)
    return _scan(rooms, connection, user_id, wish, event_filter, start, start, stop)


def _scan(
    rooms: Rooms,
    connection: Reader,
    user_id: str,
    wish: PageWish,
    event_filter: EventFilter,
    start: int,
    above: int,
    upto: int,
) -> Page:
    """Collect events at above < position <= upto until there are enough or enough were looked at."""
    events: Seen = []
    scanned = 0
    allowed_room = event_filter.allows_room(wish.room_id)
    ignored = ignored_users(connection, user_id)
    while allowed_room and above < upto:
        wanted = wish.limit - len(events)
        if wanted <= 0 or scanned >= MAX_SCANNED:
            return Page(events, start, upto if wish.backwards else above)
        rows = rooms.events.timeline(
            connection, wish.room_id, above=above, upto=upto, limit=wanted, backwards=wish.backwards
        )
        scanned += len(rows)
        passing = [
            stored for stored in rows if event_filter.allows(stored.event) and not is_unheard(stored.event, ignored)
        ]
        events += rooms.visibility.visible(connection, user_id, wish.room_id, passing)
        if len(rows) < wanted:
            break
        last = rows[-1].position
        assert last is not None
        if wish.backwards:
            upto = last - 1
        else:
            above = last
    return Page(events, start, None)


def read_event(rooms: Rooms, connection: Reader, user_id: str, room_id: str, event_id: str) -> StoredEvent | Refused:
    """One event of the room, if the user may see it."""
    seen = see_event(rooms, connection, user_id, room_id, event_id)
    return seen if isinstance(seen, Refused) else seen[0]


def see_event(
    rooms: Rooms, connection: Reader, user_id: str, room_id: str, event_id: str
) -> tuple[StoredEvent, str] | Refused:
    """The same, with the user's membership after it."""
    return _see(rooms, connection, user_id, room_id, event_id) or NO_EVENT


def present_seen(rooms: Rooms, connection: Reader, viewer: Viewer, seen: Seen) -> list[JsonObject]:
    """The events in the client format, with their room id and aggregations."""
    relations = aggregations(rooms, connection, viewer, [stored for stored, _ in seen])
    return [
        present_event(
            rooms,
            connection,
            viewer,
            stored,
            membership=membership,
            with_room_id=True,
            relations=relations.get(stored.event_id),
        )
        for stored, membership in seen
    ]


def senders_members(rooms: Rooms, connection: Reader, viewer: Viewer, seen: Seen) -> list[JsonObject]:
    """The member events of the senders for lazy loading: from the state after the oldest of the events, where they are
    in it.
    """
    if not seen:
        return []
    oldest = min((stored for stored, _ in seen), key=lambda stored: stored.position or 0)
    assert oldest.state_group is not None
    keys = [("m.room.member", sender) for sender in sorted({stored.event.sender for stored, _ in seen})]
    entries = entries_of_group(connection, oldest.state_group, keys)
    newest = max((stored for stored, _ in seen), key=lambda stored: stored.position or 0)
    if len(entries) < len(keys) and newest.state_group is not None:
        # Who came in between, and whose joining a filter may have left out.
        entries = entries_of_group(connection, newest.state_group, keys) | entries
    return present_state(rooms, connection, viewer, entries.values(), with_room_id=True)


def read_context(
    rooms: Rooms,
    connection: Reader,
    viewer: Viewer,
    room_id: str,
    event_id: str,
    limit: int,
    event_filter: EventFilter,
) -> JsonObject | Refused:
    """An event, up to half of `limit` events on each side of it, and the state after the last of them."""
    seen = _see(rooms, connection, viewer.user_id, room_id, event_id)
    if seen is None:
        return NO_EVENT
    stored = seen[0]
    halves = ((limit + 1) // 2, max(limit // 2, 1)) if limit > 0 else (0, 0)
    around = read_around(rooms, connection, viewer.user_id, stored, *halves, event_filter)
    last = around.after[-1][0] if around.after else stored
    told = [seen, *around.before, *around.after]
    return {
        "event": present_seen(rooms, connection, viewer, [seen])[0],
        "events_before": present_seen(rooms, connection, viewer, around.before),
        "events_after": present_seen(rooms, connection, viewer, around.after),
        "state": _context_state(rooms, connection, viewer, last, told, event_filter),
        "start": page_token(around.start),
        "end": page_token(around.end),
    }


@dataclass(frozen=True, slots=True)
class Around:
    """The events on both sides of one, nearest first; from `start` and `end` the history goes on."""

    before: Seen
    after: Seen
    start: int
    end: int


def read_around(
    rooms: Rooms,
    connection: Reader,
    user_id: str,
    stored: StoredEvent,
    before_limit: int,
    after_limit: int,
    event_filter: EventFilter = NO_FILTER,
) -> Around:
    """Up to so many events before and after one that the user may see."""
    room_id, position = stored.event.room_id, stored.position
    assert position is not None
    before = Page([], position - 1, position - 1)
    after = Page([], position, position)
    # A user may see one event without having access to the room's history, such as their own invite.
    if before_limit > 0:
        page = read_page(
            rooms, connection, user_id, PageWish(room_id, position - 1, None, True, before_limit), event_filter
        )
        before = before if isinstance(page, Refused) else page
    if after_limit > 0:
        page = read_page(
            rooms, connection, user_id, PageWish(room_id, position, None, False, after_limit), event_filter
        )
        after = after if isinstance(page, Refused) else page
    last = after.events[-1][0].position if after.events else position
    return Around(before.events, after.events, _older_edge(before, position), last or position)


def _older_edge(before: Page, position: int) -> int:
    if before.end is not None:
        return before.end
    return (before.events[-1][0].position or position) - 1 if before.events else position - 1


def _context_state(
    rooms: Rooms, connection: Reader, viewer: Viewer, last: StoredEvent, seen: Seen, event_filter: EventFilter
) -> list[JsonObject]:
    if isinstance(access_of(rooms, connection, viewer.user_id, last.event.room_id), Refused):
        return []
    assert last.state_group is not None
    state = state_of_group(connection, last.state_group)
    if event_filter.lazy_load_members:
        senders = {stored.event.sender for stored, _ in seen}
        state = {key: value for key, value in state.items() if key[0] != "m.room.member" or key[1] in senders}
    return present_state(rooms, connection, viewer, state.values(), with_room_id=True)


def event_near_time(
    rooms: Rooms, connection: Reader, user_id: str, room_id: str, timestamp: int, forwards: bool
) -> StoredEvent | Refused:
    """The event of the room that was sent first at or after `timestamp` (ms), or last at or before it."""
    if isinstance(access := access_of(rooms, connection, user_id, room_id), Refused):
        return access
    for event_id in event_ids_near_time(connection, room_id, timestamp, forwards, MAX_NEAR_TIME):
        seen = _see(rooms, connection, user_id, room_id, event_id)
        if seen is not None:
            return seen[0]
    return NO_EVENT


@dataclass(frozen=True, slots=True)
class RelationsWish:
    """Which events that relate to `parent_id`: of one type of relation or event if set, indirect ones if `recurse`."""

    page: PageWish
    parent_id: str
    rel_type: str | None = None
    event_type: str | None = None
    recurse: bool = False


def read_relations(rooms: Rooms, connection: Reader, user_id: str, wish: RelationsWish) -> Page | Refused:
    """A page of the events that relate to one event."""
    page = wish.page
    if _see(rooms, connection, user_id, page.room_id, wish.parent_id) is None:
        return NO_EVENT
    newest = rooms.notifier.position
    start = (newest if page.backwards else BEFORE_ALL) if page.start is None else page.start
    stop = (BEFORE_ALL if page.backwards else newest) if page.stop is None else page.stop
    above, upto = (stop, start) if page.backwards else (start, stop)
    matching = _related(rooms, connection, wish, above, min(upto, newest))
    seen = rooms.visibility.visible(connection, user_id, page.room_id, matching)
    more = len(seen) > page.limit
    seen = seen[: page.limit]
    last = seen[-1][0].position if seen else None
    end = None if not more or last is None else (last - 1 if page.backwards else last)
    return Page(seen, start, end)


def _related(rooms: Rooms, connection: Reader, wish: RelationsWish, above: int, upto: int) -> list[StoredEvent]:
    """The events of the relations at above < position <= upto, in the page's direction. No loop leads twice to one."""
    page, found = wish.page, {wish.parent_id: None}
    matching: dict[str, StoredEvent] = {}
    parents = [wish.parent_id]
    for depth in range(RECURSION_DEPTH if wish.recurse else 1):
        left = MAX_SCANNED - len(found)
        ids: list[str] = []
        # What relates to an event comes after it or not; only the last step may be cut to the page.
        low, high = (above, upto) if not wish.recurse else (BEFORE_ALL, rooms.notifier.position)
        for parent_id in parents:
            if left <= len(ids):
                break
            ids += related_event_ids(
                connection,
                parent_id,
                page.room_id,
                above=low,
                upto=high,
                limit=left - len(ids),
                backwards=page.backwards,
            )
        events = rooms.events.get_many(connection, [event_id for event_id in ids if event_id not in found])
        found |= dict.fromkeys(events)
        passing = {key: stored for key, stored in events.items() if _relates(stored, wish.rel_type, wish.event_type)}
        matching |= passing
        parents = list(passing)
        if not parents or depth + 1 == RECURSION_DEPTH:
            break
    of_page = [stored for stored in matching.values() if above < (stored.position or 0) <= upto]
    return sorted(of_page, key=lambda stored: stored.position or 0, reverse=page.backwards)


def _relates(stored: StoredEvent, rel_type: str | None, event_type: str | None) -> bool:
    relation = stored.event.content.get("m.relates_to")
    if not isinstance(relation, dict) or (event_type is not None and stored.event.type != event_type):
        return False
    return rel_type is None or relation.get("rel_type") == rel_type


def _see(rooms: Rooms, connection: Reader, user_id: str, room_id: str, event_id: str) -> tuple[StoredEvent, str] | None:
    stored = rooms.events.get(connection, event_id)
    if stored is None or stored.event.room_id != room_id or stored.position is None:
        return None
    # The cache may hold what is written, but not yet on disk.
    if stored.position > rooms.notifier.position:
        return None
    membership = rooms.visibility.may_see_one(connection, user_id, stored)
    return None if membership is None else (stored, membership)
