"""/directory/room/{roomAlias} and /rooms/{roomId}/aliases: names for rooms.

An alias may be removed by who made it, by who may change the room's canonical alias, and by a server admin.
Source: client-server API, "Room aliases"; application service API, "Querying".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.checks import granted, may_set_state, room_id_of
from thingroom_homeserver.client_api.room_errors import directions_to
from thingroom_homeserver.core.identifiers import is_valid_room_alias, is_valid_room_id
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.outcomes import Refused as RoomRefused
from thingroom_homeserver.rooms.read_state import access_of
from thingroom_homeserver.storage.room_servers import servers_in_room

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_SERVERS = 100
CANONICAL_ALIAS = "m.room.canonical_alias"


async def get_alias(request: Request, services: Services) -> dict[str, Any]:
    there = await directions_to(services, _alias_of(request))
    known = services.database.read(lambda connection: servers_in_room(connection, there.room_id))
    servers = dict.fromkeys([*there.servers, *sorted(known, key=lambda name: name != services.config.server_name)])
    return {"room_id": there.room_id, "servers": list(servers)[:MAX_SERVERS] or [services.config.server_name]}


async def put_alias(request: Request, services: Services) -> dict[str, Any]:
    alias, requester = _alias_of(request), request.requester
    room_id = request.body_field("room_id", str)
    if not is_valid_room_id(room_id):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room id")
    granted(services.directory.why_unfit(alias, requester.appservice))
    if requester.appservice is None and not services.rooms.occupancy.is_joined(room_id, requester.user_id):
        raise MatrixError(403, "M_FORBIDDEN", "You are not in this room")
    granted(await services.directory.create(alias, room_id, requester.user_id))
    return {}


async def delete_alias(request: Request, services: Services) -> dict[str, Any]:
    alias, requester = _alias_of(request), request.requester
    room_id, creator = services.directory.resolve(alias), services.directory.creator_of(alias)
    if room_id is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such alias")
    if not requester.is_admin:
        granted(services.directory.why_unfit(alias, requester.appservice))
        if (
            requester.appservice is None
            and creator != requester.user_id
            and not may_set_state(services, room_id, requester.user_id, CANONICAL_ALIAS)
        ):
            raise MatrixError(403, "M_FORBIDDEN", "You may not remove this alias")
    await services.directory.delete(alias)
    return {}


async def get_aliases_of_room(request: Request, services: Services) -> dict[str, Any]:
    room_id, user_id = room_id_of(request), request.requester.user_id
    access = services.database.read(lambda connection: access_of(services.rooms, connection, user_id, room_id))
    if isinstance(access, RoomRefused):
        raise MatrixError(403, "M_FORBIDDEN", access.text)
    return {"aliases": services.directory.aliases_of(room_id)}


def _alias_of(request: Request) -> str:
    alias = request.path["roomAlias"]
    if not is_valid_room_alias(alias):
        raise MatrixError(400, "M_INVALID_PARAM", "Not a room alias")
    return alias


PATHS = client_path("directory/room/{roomAlias}")
ENDPOINTS = (
    Endpoint("GET", PATHS, get_alias, auth=Auth.OPTIONAL),
    Endpoint("PUT", PATHS, put_alias),
    Endpoint("DELETE", PATHS, delete_alias),
    Endpoint("GET", client_path("rooms/{roomId}/aliases"), get_aliases_of_room),
)
