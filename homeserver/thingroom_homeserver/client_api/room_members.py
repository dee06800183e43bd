"""GET /rooms/{roomId}/members, GET /rooms/{roomId}/joined_members, GET /joined_rooms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.present import present_event
from thingroom_homeserver.rooms.read_state import NOT_A_MEMBER, members_for
from thingroom_homeserver.rooms.tokens import parse_page_token

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

_MEMBERSHIPS = ("join", "invite", "knock", "leave", "ban")


async def get_members(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer = services.rooms, viewer_of(request.requester, services)
    wanted, unwanted = _membership(request, "membership"), _membership(request, "not_membership")
    token = request.query.get("at")
    position = None if token is None else parse_page_token(token)
    if token is not None and position is None:
        raise MatrixError(400, "M_INVALID_PARAM", "at is not a token of this server")

    def read(connection: Reader) -> list[dict[str, Any]]:
        found = accepted(members_for(rooms, connection, viewer.user_id, request.path["roomId"], position))
        memberships = [(stored, stored.event.content.get("membership")) for stored in found]
        return [
            present_event(rooms, connection, viewer, stored, with_room_id=True)
            for stored, membership in memberships
            if (wanted is None or membership == wanted) and (unwanted is None or membership != unwanted)
        ]

    return {"chunk": services.database.read(read)}


async def get_joined_members(request: Request, services: Services) -> dict[str, Any]:
    rooms, user_id, room_id = services.rooms, request.requester.user_id, request.path["roomId"]
    if not rooms.occupancy.is_joined(room_id, user_id):
        accepted(NOT_A_MEMBER)
    found = accepted(services.database.read(lambda c: members_for(rooms, c, user_id, room_id, None)))
    joined = {}
    for stored in found:
        content = stored.event.content
        if content.get("membership") == "join":
            joined[stored.event.state_key] = {
                shown: content[name]
                for shown, name in (("display_name", "displayname"), ("avatar_url", "avatar_url"))
                if isinstance(content.get(name), str)
            }
    return {"joined": joined}


async def get_joined_rooms(request: Request, services: Services) -> dict[str, Any]:
    return {"joined_rooms": sorted(services.rooms.occupancy.joined_rooms(request.requester.user_id))}


def _membership(request: Request, name: str) -> str | None:
    membership = request.query.get(name)
    if membership is not None and membership not in _MEMBERSHIPS:
        raise MatrixError(400, "M_INVALID_PARAM", f"{name} is not a membership")
    return membership


ENDPOINTS = (
    Endpoint("GET", client_path("rooms/{roomId}/members"), get_members),
    Endpoint("GET", client_path("rooms/{roomId}/joined_members"), get_joined_members),
    Endpoint("GET", client_path("joined_rooms"), get_joined_rooms),
)
