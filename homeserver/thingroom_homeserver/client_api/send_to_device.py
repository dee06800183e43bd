"""PUT /sendToDevice/{eventType}/{txnId}.

Source: client-server API, "Send-to-Device messaging".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import session_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_MESSAGES = 5000
MAX_NAME_LENGTH = 255


async def send_to_device(request: Request, services: Services) -> dict[str, Any]:
    kind, transaction_id = request.path["eventType"], request.path["txnId"]
    if len(kind) > MAX_NAME_LENGTH or len(transaction_id) > MAX_NAME_LENGTH:
        raise MatrixError(400, "M_INVALID_PARAM", f"Names have at most {MAX_NAME_LENGTH} characters")
    messages = request.body_field("messages", dict)
    for by_device in messages.values():
        if not isinstance(by_device, dict) or not all(isinstance(content, dict) for content in by_device.values()):
            raise MatrixError(400, "M_BAD_JSON", "messages must map user ids to device ids to contents")
    if sum(len(by_device) for by_device in messages.values()) > MAX_MESSAGES:
        raise MatrixError(400, "M_TOO_LARGE", f"More than {MAX_MESSAGES} messages")
    session = session_of(request.requester)
    assert session is not None, "who has no device is an application service"
    await services.to_device.send(request.requester.user_id, session, kind, transaction_id, messages)
    return {}


ENDPOINTS = (Endpoint("PUT", client_path("sendToDevice/{eventType}/{txnId}"), send_to_device, limit="to_device"),)
