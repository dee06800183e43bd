"""Full-text search over what a user may see: rooms they are in, and rooms they left, up to the leaving.

The index is asked in a thread, since a common word takes long; what it finds is checked for visibility here.
May import core and storage. Source: Client-Server API, "Server Side Search". Next: ../storage/search_index.py.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.event_filter import NO_FILTER, EventFilter
from thingroom_homeserver.rooms.ignoring import ignored_users, is_unheard
from thingroom_homeserver.rooms.search_indexing import index_waiting
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import last_joined_position, rooms_of_user
from thingroom_homeserver.storage.search_index import COLUMNS, Hit, find_events, match_expression

# What one search looks at, before filters and visibility.
MAX_HITS = 1000
MAX_ROOMS = 10_000
MAX_WORDS = 32


@dataclass(frozen=True, slots=True)
class SearchWish:
    """What is looked for. `columns`: of storage.search_index.COLUMNS."""

    term: str
    columns: tuple[str, ...] = COLUMNS
    by_rank: bool = True
    event_filter: EventFilter = NO_FILTER


@dataclass(frozen=True, slots=True)
class Found:
    """A visible event with the user's membership after it, and how well it matches."""

    stored: StoredEvent
    membership: str
    rank: float


def words_of(term: str) -> list[str]:
    """The words that are looked for: what is between white space and has a letter or a digit."""
    printable = "".join(" " if unicodedata.category(character)[0] == "C" else character for character in term)
    words = [word for word in printable.split() if any(character.isalnum() for character in word)]
    return list(dict.fromkeys(words))[:MAX_WORDS]


async def search(rooms: Rooms, user_id: str, wish: SearchWish) -> list[Found]:
    """All that was found of the best (or newest) MAX_HITS matches, in order."""
    words = words_of(wish.term)
    room_ids = rooms.database.read(partial(_searchable_rooms, rooms, user_id, wish.event_filter))
    if not words or not room_ids:
        return []
    await index_waiting(rooms)
    expression = match_expression(words, wish.columns)
    hits = await rooms.database.read_in_thread(
        lambda c: find_events(c, expression, room_ids, by_rank=wish.by_rank, limit=MAX_HITS)
    )
    return rooms.database.read(partial(_visible, rooms, user_id, wish.event_filter, hits))


def _searchable_rooms(rooms: Rooms, user_id: str, event_filter: EventFilter, connection: Reader) -> list[str]:
    """The rooms that the user is or was in, as far as the filter lets them."""
    left = rooms_of_user(connection, user_id, ("leave", "ban"))
    was_in = [
        member.room_id
        for member in left
        if not member.forgotten and last_joined_position(connection, member.room_id, user_id) is not None
    ]
    mine = [*sorted(rooms.occupancy.joined_rooms(user_id)), *was_in]
    return [room_id for room_id in mine if event_filter.allows_room(room_id)][:MAX_ROOMS]


def _visible(
    rooms: Rooms, user_id: str, event_filter: EventFilter, hits: Collection[Hit], connection: Reader
) -> list[Found]:
    ranks = {hit.event_id: hit.rank for hit in hits}
    events = rooms.events.get_many(connection, ranks)
    by_room: dict[str, list[StoredEvent]] = {}
    ignored = ignored_users(connection, user_id)
    for stored in events.values():
        if is_unheard(stored.event, ignored):
            continue
        if stored.redacted_by is None and event_filter.allows(stored.event):
            by_room.setdefault(stored.event.room_id, []).append(stored)
    seen = {
        stored.event_id: Found(stored, membership, ranks[stored.event_id])
        for room_id, of_room in by_room.items()
        for stored, membership in rooms.visibility.visible(connection, user_id, room_id, of_room)
        if not rooms.erasures.hides(connection, user_id, stored)
    }
    return [seen[event_id] for event_id in ranks if event_id in seen]
