"""POST /_matrix/federation/v1/get_missing_events/{roomId}: what lies between events that the other server knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import MAX_NAMED_EVENTS, room_for_reader, walk_back
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.server_visibility import pdus_for_server

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

DEFAULT_LIMIT = 10
MAX_LIMIT = 100


async def get_missing_events(request: Request, services: Services) -> dict[str, Any]:
    rooms, origin, room_id = services.rooms, request.origin, room_for_reader(request, services)
    latest, earliest = _event_ids(request, "latest_events"), _event_ids(request, "earliest_events")
    limit, min_depth = request.body_field("limit", int, DEFAULT_LIMIT), request.body_field("min_depth", int, 0)

    def read(connection: Reader) -> list[dict[str, Any]]:
        known = rooms.events.get_many(connection, latest).values()
        previous = [prev for stored in known if stored.event.room_id == room_id for prev in stored.event.prev_event_ids]
        events = walk_back(
            rooms,
            connection,
            room_id,
            previous,
            limit=min(max(limit, 0), MAX_LIMIT),
            stop={*earliest, *latest},
            min_depth=min_depth,
        )
        return pdus_for_server(rooms, connection, room_id, origin, events[::-1])

    return {"events": services.database.read(read)}


def _event_ids(request: Request, name: str) -> list[str]:
    ids: list[str] = request.body_field(name, list)
    if len(ids) > MAX_NAMED_EVENTS or not all(isinstance(event_id, str) for event_id in ids):
        raise MatrixError(400, "M_BAD_JSON", f"{name} must be a list of at most {MAX_NAMED_EVENTS} event ids")
    return ids


ENDPOINTS = (
    Endpoint(
        "POST",
        ("/_matrix/federation/v1/get_missing_events/{roomId}",),
        get_missing_events,
        auth=Auth.SERVER,
        limit="server_history",
    ),
)
