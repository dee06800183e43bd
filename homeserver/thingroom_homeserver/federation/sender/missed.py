"""What a server missed while it was away: all of it if that is little, else the newest of each room.

May import rooms, storage and this package. The rooms are gone through in the order of their newest event, so the place
where this stopped is one position, as everywhere. Next: courier.py.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from thingroom_homeserver.federation.sender.kit import Kit
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import QueuedEvent, last_missed_events, missed_events
from thingroom_homeserver.storage.room_servers import servers_at
from thingroom_homeserver.storage.rooms import forward_extremities

ROOMS_AT_ONCE = 100
EXTREMITIES_A_ROOM = 10


async def missed(kit: Kit, server_name: str, after: int, upto: int) -> list[QueuedEvent]:
    """What to send next of what the server missed at after < position <= upto; empty when that is done."""
    async with kit.catching_up:
        everything = await kit.database.read_in_thread(
            lambda connection: missed_events(connection, server_name, after, upto, kit.gets_all_upto + 1)
        )
        if len(everything) <= kit.gets_all_upto:
            return everything
        newest = await kit.database.read_in_thread(
            lambda connection: last_missed_events(connection, server_name, after, upto, ROOMS_AT_ONCE)
        )
    return kit.database.read(partial(_with_extremities, kit, server_name, newest))


def _with_extremities(
    kit: Kit, server_name: str, newest: Iterable[QueuedEvent], connection: Reader
) -> list[QueuedEvent]:
    """The newest events, each replaced by the ends of its room where others followed it: the server asks from there."""
    found = []
    for event in newest:
        ends = forward_extremities(connection, event.room_id)
        if event.event_id in ends:
            found.append(event)
            continue
        stored = kit.rooms.events.get_many(connection, ends[:EXTREMITIES_A_ROOM])
        later = [
            QueuedEvent(event.position, end.event_id, event.room_id, end.event.sender)
            for end in stored.values()
            if end.position is not None
            and end.event.sender.partition(":")[2] != server_name
            and server_name in servers_at(connection, event.room_id, end.position)
        ]
        found += later or [event]
    return found
