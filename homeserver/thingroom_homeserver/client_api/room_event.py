"""GET event/{eventId}, context/{eventId} and timestamp_to_event of /rooms/{roomId}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.history import fill_around, find_elsewhere
from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.client_api.room_paging import DEFAULT_LIMIT, MAX_LIMIT, event_filter_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.read_events import event_near_time, present_seen, read_context, see_event

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader


async def get_event(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, path = services.rooms, viewer_of(request.requester, services), request.path

    def read(connection: Reader) -> dict[str, Any]:
        seen = accepted(see_event(rooms, connection, viewer.user_id, path["roomId"], path["eventId"]))
        return present_seen(rooms, connection, viewer, [seen])[0]

    return services.database.read(read)


async def get_context(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, path = services.rooms, viewer_of(request.requester, services), request.path
    limit = request.query_int("limit", DEFAULT_LIMIT, highest=MAX_LIMIT) or 0
    event_filter = event_filter_of(request)
    await fill_around(services, viewer.user_id, path["roomId"], path["eventId"], limit)
    return services.database.read(
        lambda c: accepted(read_context(rooms, c, viewer, path["roomId"], path["eventId"], limit, event_filter))
    )


async def get_by_time(request: Request, services: Services) -> dict[str, Any]:
    rooms, user_id, room_id = services.rooms, request.requester.user_id, request.path["roomId"]
    timestamp, direction = request.query_int("ts", highest=2**63 - 1), request.query.get("dir")
    if timestamp is None or direction not in ("f", "b"):
        raise MatrixError(400, "M_INVALID_PARAM", "ts must be a time in milliseconds, dir must be f or b")
    forwards = direction == "f"
    await find_elsewhere(services, user_id, room_id, timestamp, forwards)
    stored = accepted(
        services.database.read(lambda c: event_near_time(rooms, c, user_id, room_id, timestamp, forwards))
    )
    return {"event_id": stored.event_id, "origin_server_ts": stored.event.origin_server_ts}


ENDPOINTS = (
    Endpoint("GET", client_path("rooms/{roomId}/event/{eventId}"), get_event),
    Endpoint("GET", client_path("rooms/{roomId}/context/{eventId}"), get_context),
    Endpoint(
        "GET",
        client_path("rooms/{roomId}/timestamp_to_event", versions=("v1", "unstable/org.matrix.msc3030")),
        get_by_time,
    ),
)
