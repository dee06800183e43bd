"""Putting what waits into the search index: a second after it was sent, and before every search.

A message that is indexed in its own transaction makes FTS5 write, and later merge, a segment of its own: a third of
what sending it costs. Many in one are nearly free. May import core and storage. Next: search.py.
"""

from __future__ import annotations

import asyncio

from thingroom_common.database import Transaction
from thingroom_homeserver.core.searchable import searchable_text
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.search_index import index_event, take_waiting

GATHER_SECONDS = 1.0
# A write of so many takes the event loop for about a millisecond.
EVENTS_A_WRITE = 50


async def index_waiting(rooms: Rooms) -> None:
    """Put into the index everything that waits."""
    more = True
    while more:
        more = await rooms.database.write(lambda transaction: _index_some(rooms, transaction)) == EVENTS_A_WRITE


async def keep_indexed(rooms: Rooms, gather_seconds: float = GATHER_SECONDS) -> None:
    """Index what is sent, soon after, until cancelled."""
    sent = asyncio.Event()
    rooms.notifier.add_listener(lambda _position: sent.set())
    while True:
        await index_waiting(rooms)
        await sent.wait()
        await asyncio.sleep(gather_seconds)
        sent.clear()


def _index_some(rooms: Rooms, transaction: Transaction) -> int:
    waiting = take_waiting(transaction, EVENTS_A_WRITE)
    events = rooms.events.get_many(transaction, [event_id for event_id in waiting.values() if event_id is not None])
    for position, event_id in waiting.items():
        stored = None if event_id is None else events.get(event_id)
        searchable = None if stored is None else searchable_text(stored.event)
        if searchable is not None:
            index_event(transaction, position, *searchable)
    return len(waiting)
