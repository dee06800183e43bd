"""What the endpoints share that give other servers events of a room: who may ask, the parameters, walks of the graph.

May import rooms, storage and the HTTP types. Source: Server-Server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

import orjson

from thingroom_homeserver.federation_api.acl import check_server_acl, room_for_peer
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.event_json import json_of_events
from thingroom_homeserver.storage.room_servers import is_server_in_room

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request
    from thingroom_homeserver.rooms.context import Rooms
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader
    from thingroom_homeserver.storage.events import StoredEvent

MAX_NAMED_EVENTS = 100
"""How many events a request may name."""
MAX_WALKED = 1000
"""How many events are looked at to answer one request."""


def room_for_reader(request: Request, services: Services) -> str:
    """The {roomId} of the path, of which the asking server may be told: one of its users is there, no list denies it.

    Raises MatrixError: 400, 403, 404.
    """
    room_id = room_for_peer(request, services)
    _check_in_room(services, request.origin, room_id)
    return room_id


def event_for_reader(request: Request, services: Services, event_id: str, room_id: str | None = None) -> StoredEvent:
    """An event that is here, in whatever form, of the room or of any that the server may be told of.

    Raises MatrixError: 403, 404.
    """
    rooms = services.rooms
    stored = services.database.read(lambda connection: rooms.events.get(connection, event_id))
    # The cache may hold what is not on disk yet.
    if stored is None or (stored.position or 0) > rooms.notifier.position:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such event here")
    if room_id is None:
        check_server_acl(services, request.origin, stored.event.room_id)
        _check_in_room(services, request.origin, stored.event.room_id)
    elif stored.event.room_id != room_id:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such event in this room")
    return stored


def _check_in_room(services: Services, origin: str, room_id: str) -> None:
    if not services.database.read(lambda connection: is_server_in_room(connection, room_id, origin)):
        raise MatrixError(403, "M_FORBIDDEN", "None of your users is in this room")


def state_event_of(request: Request) -> str:
    """`?event_id=`. Raises MatrixError M_MISSING_PARAM."""
    event_id = request.query.get("event_id")
    if not event_id:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: event_id")
    return event_id


async def stored_pdus(services: Services, event_ids: Iterable[str]) -> list[orjson.Fragment]:
    """The PDUs of the events, as they are kept: read in a thread, since there may be thousands."""
    ids = list(event_ids)
    found = await services.database.read_in_thread(lambda connection: json_of_events(connection, ids))
    return [orjson.Fragment(json) for json in found]


def walk_back(
    rooms: Rooms,
    connection: Reader,
    room_id: str,
    start: Iterable[str],
    *,
    limit: int,
    stop: Collection[str] = (),
    min_depth: int = 0,
) -> list[StoredEvent]:
    """Up to `limit` events of the room, `start` and what precedes them by prev_events, the deepest first.

    Outliers, and the events of `stop`, are neither given nor gone through; rejected events are gone through only.
    """
    found: list[StoredEvent] = []
    seen: set[str] = set(stop)
    queue: list[tuple[int, int, str]] = []

    def add(event_ids: Sequence[str]) -> None:
        new = [event_id for event_id in dict.fromkeys(event_ids) if event_id not in seen]
        seen.update(new)
        for event_id, stored in rooms.events.get_many(connection, new).items():
            event = stored.event
            if event.room_id == room_id and stored.state_group is not None and event.depth >= min_depth:
                heapq.heappush(queue, (-event.depth, -(stored.position or 0), event_id))

    add(list(start))
    for _ in range(MAX_WALKED):
        if not queue or len(found) >= limit:
            break
        stored = rooms.events.get(connection, heapq.heappop(queue)[2])
        if stored is None:
            continue
        if stored.rejected is None:
            found.append(stored)
        add(stored.event.prev_event_ids)
    return found
