"""/devices and /delete_devices. A user deletes devices with the password, an application service without.

Source: client-server API, "Device Management"; application service API, "Device management".
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path, json_response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.interactive_auth import PASSWORD

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_devices(request: Request, services: Services) -> dict[str, Any]:
    rows = services.accounts.list_devices(request.requester.user_id)
    return {"devices": [_device_json(row, services) for row in rows]}


async def get_device(request: Request, services: Services) -> dict[str, Any]:
    row = services.accounts.find_device(request.requester.user_id, request.path["deviceId"])
    if row is None:
        raise MatrixError(404, "M_NOT_FOUND", "You have no such device")
    return _device_json(row, services)


async def put_device(request: Request, services: Services) -> dict[str, Any] | Response:
    requester, device_id = request.requester, request.path["deviceId"]
    name = request.body_field("display_name", str, None)
    if services.accounts.find_device(requester.user_id, device_id) is None:
        if requester.appservice is None:
            raise MatrixError(404, "M_NOT_FOUND", "You have no such device")
        granted(await services.accounts.create_device(requester.user_id, device_id, name))
        return json_response({}, 201)
    if name is not None:
        refused = await services.accounts.rename_device(requester.user_id, device_id, name)
        granted(refused)
    return {}


async def delete_device(request: Request, services: Services) -> dict[str, Any] | Response:
    return await _delete(request, services, [request.path["deviceId"]])


async def delete_devices(request: Request, services: Services) -> dict[str, Any] | Response:
    device_ids = request.body_field("devices", list)
    if not all(isinstance(device_id, str) for device_id in device_ids):
        raise MatrixError(400, "M_BAD_JSON", "devices must be a list of strings")
    return await _delete(request, services, device_ids)


async def _delete(request: Request, services: Services, device_ids: list[str]) -> dict[str, Any] | Response:
    requester = request.requester
    if requester.appservice is None:
        challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
        if challenge is not None:
            return challenge
    await services.accounts.delete_devices(requester.user_id, device_ids)
    return {}


def _device_json(row: sqlite3.Row, services: Services) -> dict[str, Any]:
    device: dict[str, Any] = {"device_id": row["device_id"]}
    if row["display_name"] is not None:
        device["display_name"] = row["display_name"]
    seen = services.authentication.last_seen(row["user_id"], row["device_id"])
    seen_ts, seen_ip = seen or (row["last_seen_ts"], row["last_seen_ip"])
    if seen_ts is not None:
        device |= {"last_seen_ts": seen_ts, "last_seen_ip": seen_ip}
    return device


ENDPOINTS = (
    Endpoint("GET", client_path("devices"), get_devices),
    Endpoint("GET", client_path("devices/{deviceId}"), get_device),
    Endpoint("PUT", client_path("devices/{deviceId}"), put_device),
    Endpoint("DELETE", client_path("devices/{deviceId}"), delete_device),
    Endpoint("POST", client_path("delete_devices"), delete_devices),
)
