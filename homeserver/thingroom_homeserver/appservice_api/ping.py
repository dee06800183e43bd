"""POST /_matrix/client/v1/appservice/{appserviceId}/ping: can the homeserver reach the application service?

Source: application service API, "Pinging".
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.appservice_api.http_client import NoAnswer
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

ANSWER_WITHIN_SECONDS = 30.0


async def ping(request: Request, services: Services) -> dict[str, Any]:
    appservice = request.requester.appservice
    if appservice is None or appservice.id != request.path["appserviceId"]:
        raise MatrixError(403, "M_FORBIDDEN", "The token is another application service's")
    if appservice.url is None:
        raise MatrixError(400, "M_URL_NOT_SET", "The application service has no URL")
    transaction_id = request.body_field("transaction_id", str, None)
    started = time.monotonic()
    answer = await services.appservice_client.ping(appservice, transaction_id, ANSWER_WITHIN_SECONDS)
    if isinstance(answer, NoAnswer):
        if answer.timed_out:
            raise MatrixError(504, "M_CONNECTION_TIMEOUT", answer.reason)
        raise MatrixError(502, "M_CONNECTION_FAILED", answer.reason)
    if not answer.is_ok:
        body = answer.body.decode("utf-8", "replace")
        raise MatrixError(502, "M_BAD_STATUS", f"Ping returned status {answer.status}", status=answer.status, body=body)
    return {"duration_ms": int((time.monotonic() - started) * 1000)}


ENDPOINTS = (
    Endpoint("POST", client_path("appservice/{appserviceId}/ping", versions=("v1",)), ping, auth=Auth.APPSERVICE_ONLY),
)
