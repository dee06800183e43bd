"""/room_keys/version and /room_keys/keys: backups of room keys.

Source: client-server API, "Server-side key backups".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.encryption.key_backup import (
    MAX_NAME_BYTES,
    BackedUpKey,
    RoomKeys,
    Stored,
    WrongVersion,
    parse_backed_up_key,
)
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def create_backup(request: Request, services: Services) -> dict[str, Any]:
    algorithm, auth_data = _description(request)
    return {"version": await services.key_backups.create(request.requester.user_id, algorithm, auth_data)}


async def get_backup(request: Request, services: Services) -> dict[str, Any]:
    """The current one, or that of the path."""
    return granted(services.key_backups.describe(request.requester.user_id, request.path.get("version")))


async def update_backup(request: Request, services: Services) -> dict[str, Any]:
    algorithm, auth_data = _description(request)
    version = request.path["version"]
    if request.body_field("version", str, version) != version:
        raise MatrixError(400, "M_INVALID_PARAM", "The version of the body is not that of the path")
    granted(await services.key_backups.update(request.requester.user_id, version, algorithm, auth_data))
    return {}


async def delete_backup(request: Request, services: Services) -> dict[str, Any]:
    granted(await services.key_backups.delete(request.requester.user_id, request.path["version"]))
    return {}


async def put_keys(request: Request, services: Services) -> dict[str, Any]:
    version, room_id, session_id = _version(request), request.path.get("roomId"), request.path.get("sessionId")
    if room_id is None:
        rooms = request.body_field("rooms", dict)
        keys = {_name(room): _sessions(value) for room, value in rooms.items()}
    elif session_id is None:
        keys = {_name(room_id): _sessions(request.body)}
    else:
        keys = {_name(room_id): {_name(session_id): _key(request.body)}}
    return await _store(request, services, version, keys)


async def get_keys(request: Request, services: Services) -> dict[str, Any]:
    room_id, session_id = request.path.get("roomId"), request.path.get("sessionId")
    found = granted(await services.key_backups.read(request.requester.user_id, _version(request), room_id, session_id))
    if room_id is None:
        return {"rooms": {room: {"sessions": sessions} for room, sessions in found.items()}}
    sessions = found.get(room_id, {})
    if session_id is None:
        return {"sessions": sessions}
    if session_id not in sessions:
        raise MatrixError(404, "M_NOT_FOUND", "The backup has no such key")
    return sessions[session_id]


async def delete_keys(request: Request, services: Services) -> dict[str, Any]:
    room_id, session_id = request.path.get("roomId"), request.path.get("sessionId")
    user_id, version = request.requester.user_id, _version(request)
    return _stored(granted(await services.key_backups.delete_keys(user_id, version, room_id, session_id)))


async def _store(request: Request, services: Services, version: str, keys: RoomKeys) -> dict[str, Any]:
    outcome = await services.key_backups.store(request.requester.user_id, version, keys)
    if isinstance(outcome, WrongVersion):
        raise MatrixError(
            403,
            "M_WRONG_ROOM_KEYS_VERSION",
            "This is not the current backup",
            current_version=outcome.current_version,
        )
    return _stored(granted(outcome))


def _stored(stored: Stored) -> dict[str, Any]:
    return {"count": stored.count, "etag": stored.etag}


def _description(request: Request) -> tuple[str, dict[str, Any]]:
    algorithm = request.body_field("algorithm", str)
    if not algorithm or len(algorithm) > MAX_NAME_BYTES:
        raise MatrixError(400, "M_INVALID_PARAM", "This is not the name of an algorithm")
    return algorithm, request.body_field("auth_data", dict)


def _version(request: Request) -> str:
    version = request.query.get("version")
    if version is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: version")
    return version


def _name(text: str) -> str:
    if not text or len(text.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        raise MatrixError(400, "M_INVALID_PARAM", f"Room and session ids have 1 to {MAX_NAME_BYTES} bytes")
    return text


def _sessions(value: object) -> dict[str, BackedUpKey]:
    sessions = value.get("sessions") if isinstance(value, dict) else None
    if not isinstance(sessions, dict):
        raise MatrixError(400, "M_BAD_JSON", "sessions must be an object")
    return {_name(session_id): _key(key) for session_id, key in sessions.items()}


def _key(value: object) -> BackedUpKey:
    key = parse_backed_up_key(value)
    if key is None:
        raise MatrixError(400, "M_BAD_JSON", "This is not a backed up key")
    return key


VERSION = "room_keys/version"
KEYS = ("room_keys/keys", "room_keys/keys/{roomId}", "room_keys/keys/{roomId}/{sessionId}")

_SPOKEN = ("v3", "r0", "unstable")
"""Clients have kept keys since before the specification had a path for it."""

ENDPOINTS = (
    Endpoint("POST", client_path(VERSION, versions=_SPOKEN), create_backup, limit="keys"),
    Endpoint("GET", client_path(VERSION, versions=_SPOKEN), get_backup),
    Endpoint("GET", client_path(f"{VERSION}/{{version}}", versions=_SPOKEN), get_backup),
    Endpoint("PUT", client_path(f"{VERSION}/{{version}}", versions=_SPOKEN), update_backup, limit="keys"),
    Endpoint("DELETE", client_path(f"{VERSION}/{{version}}", versions=_SPOKEN), delete_backup, limit="keys"),
    *(Endpoint("PUT", client_path(path, versions=_SPOKEN), put_keys, limit="keys") for path in KEYS),
    *(Endpoint("GET", client_path(path, versions=_SPOKEN), get_keys, limit="keys") for path in KEYS),
    *(Endpoint("DELETE", client_path(path, versions=_SPOKEN), delete_keys, limit="keys") for path in KEYS),
)
