"""/keys/upload, /keys/query and /keys/claim: what end-to-end encryption needs of a server.

Source: client-server API, "End-to-End Encryption". Next: cross_signing.py, key_changes.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_USERS_A_QUERY = 1000
USERS_AT_ONCE = 25
MAX_SERVERS_A_QUERY = 500
DEFAULT_TIMEOUT_SECONDS = 10.0
MAX_TIMEOUT_SECONDS = 60.0


async def upload_keys(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    if requester.device_id is None:
        raise MatrixError(400, "M_UNKNOWN_DEVICE", "Keys belong to a device; name one with ?device_id=")
    if request.path.get("deviceId", requester.device_id) != requester.device_id:
        raise MatrixError(400, "M_INVALID_PARAM", "Keys are uploaded for the device that one uses")
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
    viewer, seconds = request.requester.user_id, _seconds(request)
    local, remote = _apart(wanted, services)
    answer: dict[str, Any] = {"device_keys": {}, "failures": {}}
    async for some in _in_bites(local):
        answer["device_keys"] |= services.device_keys.query(some, viewer)
        for usage, by_user in services.cross_signing.query(some, viewer).items():
            answer.setdefault(f"{usage}_keys", {}).update(by_user)
    if remote:
        found = await services.federation.remote_keys.query(remote, viewer, seconds)
        answer["device_keys"] |= found.devices
        answer["failures"] = found.failures
        for usage, by_user in found.signing_keys.items():
            answer.setdefault(f"{usage}_keys", {}).update(by_user)
    return answer


async def _in_bites(wanted: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
    """The users of a request, a few at a time; others run in between."""
    users = list(wanted)
    for start in range(0, len(users) or 1, USERS_AT_ONCE):
        if start:
            await asyncio.sleep(0)
        yield {user_id: wanted[user_id] for user_id in users[start : start + USERS_AT_ONCE]}


async def claim_keys(request: Request, services: Services) -> dict[str, Any]:
    wanted = request.body_field("one_time_keys", dict)
    if len(wanted) > MAX_USERS_A_QUERY or not all(
        isinstance(devices, dict) and all(isinstance(algorithm, str) for algorithm in devices.values())
        for devices in wanted.values()
    ):
        raise MatrixError(400, "M_INVALID_PARAM", "one_time_keys must map user ids to device ids to algorithms")
    local, remote = _apart(wanted, services)
    seconds = _seconds(request)
    claimed: dict[str, Any] = {}
    async for some in _in_bites(local):
        claimed |= await services.device_keys.claim(some)
    failures: dict[str, Any] = {}
    if remote:
        theirs, failures = await services.federation.remote_keys.claim(remote, seconds)
        claimed |= theirs
    return {"one_time_keys": claimed, "failures": failures}


def _apart(wanted: dict[str, Any], services: Services) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is asked about local users, and what about those of other servers. Raises MatrixError."""
    local: dict[str, Any] = {}
    remote: dict[str, Any] = {}
    for user_id, value in wanted.items():
        if services.accounts.is_local(user_id):
            local[user_id] = value
        elif is_valid_user_id(user_id):
            remote[user_id] = value
    if len({user_id.partition(":")[2] for user_id in remote}) > MAX_SERVERS_A_QUERY:
        raise MatrixError(400, "M_TOO_LARGE", f"Users of more than {MAX_SERVERS_A_QUERY} servers")
    return local, remote


def _seconds(request: Request) -> float:
    """How long other servers are given, by the body's `timeout` in milliseconds."""
    timeout_ms = request.body_field("timeout", int, int(DEFAULT_TIMEOUT_SECONDS * 1000))
    return float(min(max(timeout_ms / 1000, 0.1), MAX_TIMEOUT_SECONDS))


ENDPOINTS = (
    Endpoint("POST", (*client_path("keys/upload"), *client_path("keys/upload/{deviceId}")), upload_keys, limit="keys"),
    Endpoint("POST", client_path("keys/query"), query_keys, limit="keys"),
    Endpoint("POST", client_path("keys/claim"), claim_keys, limit="keys"),
)
