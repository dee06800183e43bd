"""What a server administrator may do with accounts: look where they are signed in, suspend them, lock them.

The right to ask is checked before any account is looked at. Source: client-server API, "Server Administration".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    import sqlite3

    from thingroom_homeserver.services import Services

V1 = ("v1",)


async def who_is(request: Request, services: Services) -> dict[str, Any]:
    requester, user_id = request.requester, request.path["userId"]
    if user_id != requester.user_id and not requester.is_admin:
        raise MatrixError(403, "M_FORBIDDEN", "Requesting user is not a server administrator.")
    _local_account(services, user_id)
    devices: dict[str, Any] = {}
    for row in services.accounts.list_devices(user_id):
        seen = services.authentication.last_seen(user_id, row["device_id"]) or (
            row["last_seen_ts"],
            row["last_seen_ip"],
        )
        connection = {} if seen[0] is None else {"ip": seen[1], "last_seen": seen[0]}
        devices[row["device_id"]] = {"sessions": [{"connections": [connection] if connection else []}]}
    return {"user_id": user_id, "devices": devices}


async def get_suspended(request: Request, services: Services) -> dict[str, Any]:
    return {"suspended": bool(_target(request, services)["suspended"])}


async def put_suspended(request: Request, services: Services) -> dict[str, Any]:
    account, value = _target(request, services), request.body_field("suspended", bool)
    await services.standing.set_suspended(account["user_id"], value)
    return {"suspended": value}


async def get_locked(request: Request, services: Services) -> dict[str, Any]:
    return {"locked": bool(_target(request, services)["locked"])}


async def put_locked(request: Request, services: Services) -> dict[str, Any]:
    account, value = _target(request, services), request.body_field("locked", bool)
    await services.standing.set_locked(account["user_id"], value)
    return {"locked": value}


def _target(request: Request, services: Services) -> sqlite3.Row:
    """The account that is meant. Raises MatrixError: M_FORBIDDEN, M_INVALID_PARAM, M_NOT_FOUND."""
    if not request.requester.is_admin:
        raise MatrixError(403, "M_FORBIDDEN", "Requesting user is not a server administrator.")
    user_id = request.path["userId"]
    if request.method == "PUT" and user_id == request.requester.user_id:
        raise MatrixError(403, "M_FORBIDDEN", "You cannot do this to your own account")
    account = _local_account(services, user_id)
    if account["is_admin"] or user_id in services.config.admin_users:
        raise MatrixError(403, "M_FORBIDDEN", "The user is another administrator")
    return account


def _local_account(services: Services, user_id: str) -> sqlite3.Row:
    if not is_valid_user_id(user_id) or not services.accounts.is_local(user_id):
        raise MatrixError(400, "M_INVALID_PARAM", "User does not belong to the local server.")
    account = services.accounts.find(user_id)
    if account is None or account["deactivated"]:
        raise MatrixError(404, "M_NOT_FOUND", "User not found.")
    return account


_WHO_IS = (*client_path("admin/whois/{userId}"), "/_matrix/client/v1/admin/whois/{userId}")
_SUSPEND = (*client_path("admin/suspend/{userId}", versions=V1),)
_LOCK = (*client_path("admin/lock/{userId}", versions=V1),)

ENDPOINTS = (
    Endpoint("GET", _WHO_IS, who_is),
    Endpoint("GET", _SUSPEND, get_suspended),
    Endpoint("PUT", _SUSPEND, put_suspended),
    Endpoint("GET", _LOCK, get_locked),
    Endpoint("PUT", _LOCK, put_locked),
)
