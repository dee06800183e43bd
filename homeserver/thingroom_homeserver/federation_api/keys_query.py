"""POST /_matrix/federation/v1/user/keys/query: devices and cross-signing keys of local users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.encryption.cross_signing import MASTER, SELF_SIGNING
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_USERS = 1000
NOBODY = ""
"""Who asks is a server: it sees what everybody may see."""


async def query_keys(request: Request, services: Services) -> dict[str, Any]:
    wanted = request.body_field("device_keys", dict)
    if len(wanted) > MAX_USERS or not all(
        isinstance(devices, list) and all(isinstance(device_id, str) for device_id in devices)
        for devices in wanted.values()
    ):
        raise MatrixError(400, "M_INVALID_PARAM", "device_keys must map user ids to lists of device ids")
    local = {user_id: devices for user_id, devices in wanted.items() if services.accounts.is_local(user_id)}
    signing_keys = services.cross_signing.query(local, NOBODY)
    return {
        "device_keys": services.device_keys.query(local, NOBODY),
        "master_keys": signing_keys[MASTER],
        "self_signing_keys": signing_keys[SELF_SIGNING],
    }


ENDPOINTS = (
    Endpoint("POST", ("/_matrix/federation/v1/user/keys/query",), query_keys, auth=Auth.SERVER, limit="server_query"),
)
