"""Reading a room's history where parts of it are still with other servers: those are fetched before a page is given.

May import the rooms services, federation and the HTTP frame's types. Next: federation/backfill.py,
rooms/read_events.py.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from thingroom_homeserver.federation.backfill import Filled
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.gaps import Gap, gaps_between
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.read_events import BEFORE_ALL, Page, PageWish, read_page
from thingroom_homeserver.rooms.read_state import access_of
from thingroom_homeserver.storage.events import event_ids_near_time
from thingroom_homeserver.storage.memberships import NO_END

if TYPE_CHECKING:
    from thingroom_homeserver.rooms.event_filter import EventFilter
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

MAX_FILLS = 3
"""How often one request has other servers asked."""
NOBODY_REACHED = Refused(
    Why.UNREACHABLE, "Older messages are with other servers of this room, none of which can be reached now"
)


async def filled_page(services: Services, user_id: str, wish: PageWish, event_filter: EventFilter) -> Page | Refused:
    """A page of /messages, as `read_page` gives it; gaps that it would cross are filled first.

    A page ends at a gap that is not filled whole; the next one, which begins there, tries again and goes on beyond it
    if that is in vain. Refused (UNREACHABLE) if nothing is left but a gap whose servers cannot be reached.
    """
    fills = 0
    while True:
        page, gap = services.database.read(lambda connection: _page(services, connection, user_id, wish, event_filter))
        if isinstance(page, Refused) or gap is None or not services.federation.enabled:
            return page
        cut = _cut(page, gap, wish.backwards)
        if fills == MAX_FILLS:
            return cut
        filled = await services.federation.backfill.fill(gap, wish.limit)
        fills += 1
        if filled is not Filled.SOME:
            if cut.events:
                return cut
            nothing = not page.events and page.end is None
            return NOBODY_REACHED if nothing and filled is Filled.UNREACHABLE else page


async def fill_around(services: Services, user_id: str, room_id: str, event_id: str, limit: int) -> None:
    """Fetch what is missing of the `limit` events on each side of an event, as far as it is to be had soon."""

    def read(connection: Reader) -> int | None:
        stored = services.rooms.events.get(connection, event_id)
        has_gaps = bool(gaps_between(connection, room_id, BEFORE_ALL, NO_END))
        return stored.position if has_gaps and stored is not None else None

    position = services.database.read(read)
    if position is not None and limit > 0:
        for wish in (PageWish(room_id, position, None, True, limit), PageWish(room_id, position, None, False, limit)):
            await filled_page(services, user_id, wish, NO_FILTER)


async def find_elsewhere(services: Services, user_id: str, room_id: str, timestamp: int, forwards: bool) -> None:
    """Have other servers asked for the event nearest to a time, if it may lie in a gap of what is here."""
    rooms = services.rooms

    def read(connection: Reader) -> tuple[Gap, int | None] | None:
        if isinstance(access_of(rooms, connection, user_id, room_id), Refused):
            return None
        ids = event_ids_near_time(connection, room_id, timestamp, forwards, 1)
        nearest = rooms.events.get(connection, ids[0]) if ids else None
        if nearest is None or nearest.position is None:
            gaps = gaps_between(connection, room_id, BEFORE_ALL, NO_END)
            return (gaps[0], None) if gaps else None
        # What lies on the other side of a gap beside the event may be nearer to the time.
        above, upto = (BEFORE_ALL, nearest.position - 1) if forwards else (nearest.position, NO_END)
        beside = rooms.events.timeline(connection, room_id, above=above, upto=upto, limit=1, backwards=forwards)
        edge = beside[0].position if beside else None
        if forwards:
            above = BEFORE_ALL if edge is None else edge
        else:
            upto = NO_END if edge is None else edge
        gaps = gaps_between(connection, room_id, above, upto)
        return (gaps[0], nearest.event.origin_server_ts) if gaps else None

    found = services.database.read(read)
    if found is not None and services.federation.enabled:
        await services.federation.time_search.find(found[0], timestamp, forwards, found[1])


def _page(
    services: Services, connection: Reader, user_id: str, wish: PageWish, event_filter: EventFilter
) -> tuple[Page | Refused, Gap | None]:
    """The page as it is here, and the first gap that it crosses."""
    page = read_page(services.rooms, connection, user_id, wish, event_filter)
    if isinstance(page, Refused):
        return page, None
    if wish.backwards:
        above = page.end if page.end is not None else BEFORE_ALL if wish.stop is None else wish.stop
        gaps = gaps_between(connection, wish.room_id, above, page.start)
        return page, gaps[0] if gaps else None
    upto = page.end if page.end is not None else NO_END if wish.stop is None else wish.stop
    gaps = gaps_between(connection, wish.room_id, page.start, upto)
    return page, gaps[-1] if gaps else None


def _cut(page: Page, gap: Gap, backwards: bool) -> Page:
    """The part of the page before it crosses the gap."""
    if backwards:
        events = [(stored, membership) for stored, membership in page.events if (stored.position or 0) > gap.next]
        return replace(page, events=events, end=gap.next)
    events = [(stored, membership) for stored, membership in page.events if (stored.position or 0) <= gap.floor]
    return replace(page, events=events, end=gap.floor)
