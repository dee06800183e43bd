"""POST /rooms/{roomId}/receipt/{receiptType}/{eventId} and /rooms/{roomId}/read_markers.

Source: client-server API, "Receipts" and "Read and unread markers".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.receipts import FULLY_READ, READ, READ_PRIVATE, UNTHREADED
from thingroom_homeserver.client_api.checks import granted, joined_room_of
from thingroom_homeserver.core.identifiers import is_valid_event_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

KINDS = (FULLY_READ, READ, READ_PRIVATE)
MAIN_TIMELINE = "main"


async def post_receipt(request: Request, services: Services) -> dict[str, Any]:
    room_id, kind, event_id = joined_room_of(request, services), request.path["receiptType"], request.path["eventId"]
    if kind not in KINDS:
        raise MatrixError(400, "M_INVALID_PARAM", f"receiptType must be one of {', '.join(KINDS)}")
    thread_id = _thread_of(request, kind)
    granted(await services.receipts.mark(room_id, request.requester.user_id, {kind: event_id}, thread_id))
    return {}


def _thread_of(request: Request, kind: str) -> str:
    """The thread_id of the body; null is none (matrix-nio sends that). Raises MatrixError."""
    thread_id = request.optional_body.get("thread_id")
    if thread_id is None:
        return UNTHREADED
    if kind == FULLY_READ:
        raise MatrixError(400, "M_INVALID_PARAM", "m.fully_read has no thread_id")
    if thread_id != MAIN_TIMELINE and not is_valid_event_id(thread_id):
        raise MatrixError(400, "M_INVALID_PARAM", "thread_id must be an event id or main")
    return str(thread_id)


async def post_read_markers(request: Request, services: Services) -> dict[str, Any]:
    room_id = joined_room_of(request, services)
    marks = {kind: event_id for kind in KINDS if (event_id := request.body_field(kind, str, None)) is not None}
    granted(await services.receipts.mark(room_id, request.requester.user_id, marks))
    return {}


ENDPOINTS = (
    Endpoint("POST", client_path("rooms/{roomId}/receipt/{receiptType}/{eventId}"), post_receipt),
    Endpoint("POST", client_path("rooms/{roomId}/read_markers"), post_read_markers),
)
