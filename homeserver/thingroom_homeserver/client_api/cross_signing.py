"""POST /keys/device_signing/upload and POST /keys/signatures/upload.

Source: client-server API, "Cross-signing"; application service API, "Cross-signing".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.http.interactive_auth import PASSWORD

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_SIGNED_KEYS = 1000


async def upload_cross_signing_keys(request: Request, services: Services) -> dict[str, Any] | Response:
    requester, cross_signing = request.requester, services.cross_signing
    keys = granted(cross_signing.parse_upload(requester.user_id, request.body))
    must_authenticate = requester.appservice is None and not cross_signing.is_free(requester.user_id, keys)
    if must_authenticate:
        challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
        if challenge is not None:
            return challenge
    authenticated = must_authenticate or requester.appservice is not None
    granted(await cross_signing.upload(requester.user_id, keys, authenticated=authenticated))
    return {}


async def upload_signatures(request: Request, services: Services) -> dict[str, Any]:
    signed = request.body
    if not all(isinstance(by_name, dict) for by_name in signed.values()):
        raise MatrixError(400, "M_BAD_JSON", "The body must map user ids to key ids to signed keys")
    if sum(len(by_name) for by_name in signed.values()) > MAX_SIGNED_KEYS:
        raise MatrixError(400, "M_TOO_LARGE", f"More than {MAX_SIGNED_KEYS} signed keys")
    failures = await services.cross_signing.upload_signatures(request.requester.user_id, signed)
    return {
        "failures": {
            user_id: {name: error_for(refused).body() for name, refused in by_name.items()}
            for user_id, by_name in failures.items()
        }
    }


_SPOKEN = ("v3", "r0", "unstable")

ENDPOINTS = (
    Endpoint(
        "POST", client_path("keys/device_signing/upload", versions=_SPOKEN), upload_cross_signing_keys, limit="keys"
    ),
    Endpoint("POST", client_path("keys/signatures/upload", versions=_SPOKEN), upload_signatures, limit="keys"),
)
