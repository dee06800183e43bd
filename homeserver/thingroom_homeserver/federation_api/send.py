"""PUT /_matrix/federation/v1/send/{txnId}: a transaction of PDUs and EDUs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from thingroom_homeserver.federation.inbox import TooBusy
from thingroom_homeserver.federation.traffic import count
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, json_response
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_PDUS = 50
MAX_EDUS = 100
MAX_TRANSACTION_ID = 255
BUSY_SECONDS = 2.0


async def send(request: Request, services: Services) -> Response:
    transaction_id = request.path["txnId"]
    if not 0 < len(transaction_id) <= MAX_TRANSACTION_ID:
        raise MatrixError(400, "M_INVALID_PARAM", f"A transaction id has at most {MAX_TRANSACTION_ID} characters")
    pdus = [pdu for pdu in _list(request, "pdus", MAX_PDUS) if isinstance(pdu, dict)]
    edus = _list(request, "edus", MAX_EDUS)
    try:
        count(services.federation.traffic.received, len(pdus), len(edus))
        answer = await services.federation.inbox.transaction(request.origin, transaction_id, pdus, edus)
    except TooBusy:
        raise limit_exceeded(BUSY_SECONDS) from None
    return json_response(orjson.Fragment(answer))


def _list(request: Request, name: str, limit: int) -> list[Any]:
    found: list[Any] = request.body_field(name, list, [])
    if len(found) > limit:
        raise MatrixError(400, "M_TOO_LARGE", f"A transaction has at most {limit} {name}")
    return found


ENDPOINTS = (Endpoint("PUT", ("/_matrix/federation/v1/send/{txnId}",), send, auth=Auth.SERVER),)
