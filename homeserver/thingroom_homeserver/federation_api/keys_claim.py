"""POST /_matrix/federation/v1/user/keys/claim: one-time keys of local users' devices, each given out once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_USERS = 1000
MAX_DEVICES = 5000


async def claim_keys(request: Request, services: Services) -> dict[str, Any]:
    wanted = request.body_field("one_time_keys", dict)
    if not all(
        isinstance(devices, dict) and all(isinstance(algorithm, str) for algorithm in devices.values())
        for devices in wanted.values()
    ):
        raise MatrixError(400, "M_INVALID_PARAM", "one_time_keys must map user ids to device ids to algorithms")
    if len(wanted) > MAX_USERS or sum(map(len, wanted.values())) > MAX_DEVICES:
        raise MatrixError(400, "M_TOO_LARGE", f"More than {MAX_USERS} users or {MAX_DEVICES} devices")
    local = {user_id: devices for user_id, devices in wanted.items() if services.accounts.is_local(user_id)}
    return {"one_time_keys": await services.device_keys.claim(local)}


ENDPOINTS = (
    Endpoint("POST", ("/_matrix/federation/v1/user/keys/claim",), claim_keys, auth=Auth.SERVER, limit="server_query"),
)
