"""GET /rooms/{roomId}/state, GET and PUT /rooms/{roomId}/state/{eventType}/{stateKey}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.leaving import remove_guests
from thingroom_homeserver.client_api.room_errors import accepted, sender_of, viewer_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path, json_response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.membership import MEMBER, Change
from thingroom_homeserver.rooms.present import present_event, present_state
from thingroom_homeserver.rooms.read_state import entry_for, state_for
from thingroom_homeserver.rooms.send_event import send_state

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

_ONE = (
    *client_path("rooms/{roomId}/state/{eventType}"),
    *client_path("rooms/{roomId}/state/{eventType}/{stateKey}"),
)


async def get_all(request: Request, services: Services) -> Response:
    rooms, viewer = services.rooms, viewer_of(request.requester, services)

    def read(connection: Reader) -> list[dict[str, Any]]:
        state = accepted(state_for(rooms, connection, viewer.user_id, request.path["roomId"]))
        return present_state(rooms, connection, viewer, state.values(), with_room_id=True)

    return json_response(services.database.read(read))


async def get_one(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, path = services.rooms, viewer_of(request.requester, services), request.path
    whole_event = request.query.get("format", "content") == "event"

    def read(connection: Reader) -> dict[str, Any]:
        state_key = path.get("stateKey", "")
        event_id = accepted(entry_for(rooms, connection, viewer.user_id, path["roomId"], path["eventType"], state_key))
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        if stored is None:
            raise MatrixError(404, "M_NOT_FOUND", "The room has no such state")
        if whole_event:
            return present_event(rooms, connection, viewer, stored, with_room_id=True)
        return stored.event.content

    return services.database.read(read)


async def put_one(request: Request, services: Services) -> dict[str, Any]:
    path, body, sender = request.path, request.body, sender_of(request.requester)
    state_key = path.get("stateKey", "")
    if path["eventType"] == MEMBER:
        sent = await services.federation.memberships.change(sender, path["roomId"], _change(state_key, request))
    else:
        sent = await send_state(services.rooms, sender, path["roomId"], path["eventType"], state_key, body)
    event_id = accepted(sent).event_id
    if path["eventType"] == "m.room.guest_access":
        await remove_guests(path["roomId"], services)
    return {"event_id": event_id}


def _change(user_id: str, request: Request) -> Change:
    membership = request.body_field("membership", str)
    reason = request.body_field("reason", str, None)
    extra = {name: value for name, value in request.body.items() if name not in ("membership", "reason")}
    return Change(user_id, membership, reason, extra=extra)


ENDPOINTS = (
    Endpoint("GET", client_path("rooms/{roomId}/state"), get_all),
    Endpoint("GET", _ONE, get_one),
    Endpoint("PUT", _ONE, put_one, limit="send", ts=True),
)
