"""PUT /rooms/{roomId}/send/{eventType}/{txnId} and PUT /rooms/{roomId}/redact/{eventId}/{txnId}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, sender_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.rooms.send_event import redact_event, send_event

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def send(request: Request, services: Services) -> dict[str, Any]:
    path = request.path
    sent = await send_event(
        services.rooms, sender_of(request.requester), path["roomId"], path["eventType"], request.body, path["txnId"]
    )
    event_id = accepted(sent).event_id
    if request.requester.appservice is None:
        services.presence.note_active(request.requester.user_id)
    return {"event_id": event_id}


async def redact(request: Request, services: Services) -> dict[str, Any]:
    path, body = request.path, request.optional_body
    reason = request.body_field("reason", str, None) if body else None
    content = {} if reason is None else {"reason": reason}
    sent = await redact_event(
        services.rooms, sender_of(request.requester), path["roomId"], path["eventId"], content, path["txnId"]
    )
    return {"event_id": accepted(sent).event_id}


ENDPOINTS = (
    Endpoint("PUT", client_path("rooms/{roomId}/send/{eventType}/{txnId}"), send, limit="send", ts=True),
    Endpoint("PUT", client_path("rooms/{roomId}/redact/{eventId}/{txnId}"), redact, limit="send", ts=True),
)
