"""What a server missed while it was away: all of it if that is little, else the newest of each room.

May import rooms, storage and this package. The rooms are gone through in the order of their newest event, so the place
where this stopped is one position, as everywhere. It costs what the server has of rooms, not what happened in them.
Next: courier.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from thingroom_homeserver.federation.sender.kit import Kit
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import (
    QueuedEvent,
    event_at,
    missed_count,
    missed_events,
    rooms_missed,
)
from thingroom_homeserver.storage.room_servers import servers_at
from thingroom_homeserver.storage.rooms import forward_extremities

ROOMS_AT_ONCE = 100
EXTREMITIES_A_ROOM = 10


@dataclass(frozen=True, slots=True)
class Missed:
    """What to send next, and the position up to which nothing is missing then."""

    events: list[QueuedEvent]
    upto: int


async def missed(kit: Kit, server_name: str, after: int, upto: int) -> Missed:
    """What to send next of what the server missed at after < position <= upto."""
    async with kit.catching_up:
        return await kit.database.read_in_thread(partial(_missed, kit, server_name, after, upto))


def _missed(kit: Kit, server_name: str, after: int, upto: int, connection: Reader) -> Missed:
    limit = kit.gets_all_upto
    if missed_count(connection, server_name, after, upto, limit + 1) <= limit:
        return Missed(missed_events(connection, server_name, after, upto), upto)
    rooms = rooms_missed(connection, server_name, after, upto, ROOMS_AT_ONCE)
    events = [event for position, room_id in rooms for event in _ends(connection, server_name, room_id, position)]
    return Missed(events, rooms[-1][0] if len(rooms) == ROOMS_AT_ONCE else upto)


def _ends(connection: Reader, server_name: str, room_id: str, newest: int) -> Iterator[QueuedEvent]:
    """The event at `newest`, or, where others followed it, the ends of the room: the server asks on from there."""
    event = event_at(connection, newest)
    ends = forward_extremities(connection, room_id)
    found = []
    if event.event_id not in ends:
        for event_id in ends[:EXTREMITIES_A_ROOM]:
            row = connection.execute("SELECT position, sender FROM events WHERE event_id = ?", (event_id,)).fetchone()
            if row["position"] is not None and server_name in servers_at(connection, room_id, row["position"]):
                found.append(QueuedEvent(newest, event_id, room_id, row["sender"]))
    for each in found or [event]:
        if each.sender.partition(":")[2] != server_name:
            yield each
