"""/keys/upload, /keys/query and /keys/claim: what end-to-end encryption needs of a server.

Source: client-server API, "End-to-End Encryption". Next: cross_signing.py, key_changes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_USERS_A_QUERY = 1000


async def upload_keys(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    if requester.device_id is None:
        raise MatrixError(400, "M_UNKNOWN_DEVICE", "Keys belong to a device; name one with ?device_id=")
    counts = granted(
        await services.device_keys.upload(
            requester.user_id,
            requester.device_id,
            request.body_field("device_keys", dict, None),
            request.body_field("one_time_keys", dict, {}),
            request.body_field("fallback_keys", dict, {}),
        )
    )
    return {"one_time_key_counts": counts}


async def query_keys(request: Request, services: Services) -> dict[str, Any]:
    wanted = request.body_field("device_keys", dict)
    if len(wanted) > MAX_USERS_A_QUERY or not all(
        isinstance(devices, list) and all(isinstance(device_id, str) for device_id in devices)
        for devices in wanted.values()
    ):
        raise MatrixError(400, "M_INVALID_PARAM", "device_keys must map user ids to lists of device ids")
    viewer = request.requester.user_id
    cross_signing = services.cross_signing.query(wanted, viewer)
    return {
        "device_keys": services.device_keys.query(wanted, viewer),
        "failures": {},
        **{f"{usage}_keys": by_user for usage, by_user in cross_signing.items()},
    }


async def claim_keys(request: Request, services: Services) -> dict[str, Any]:
    wanted = request.body_field("one_time_keys", dict)
    if len(wanted) > MAX_USERS_A_QUERY or not all(
        isinstance(devices, dict) and all(isinstance(algorithm, str) for algorithm in devices.values())
        for devices in wanted.values()
    ):
        raise MatrixError(400, "M_INVALID_PARAM", "one_time_keys must map user ids to device ids to algorithms")
    return {"one_time_keys": await services.device_keys.claim(wanted), "failures": {}}


ENDPOINTS = (
    Endpoint("POST", client_path("keys/upload"), upload_keys, limit="keys"),
    Endpoint("POST", client_path("keys/query"), query_keys, limit="keys"),
    Endpoint("POST", client_path("keys/claim"), claim_keys, limit="keys"),
)
