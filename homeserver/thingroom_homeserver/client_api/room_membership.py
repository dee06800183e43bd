"""POST join, knock, leave, forget, invite, kick, ban, unban: the membership pages of the specification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, directions_to, know_users, sender_of
from thingroom_homeserver.client_api.third_party_invites import address_invite, find_invited, leave_invite
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.rooms.membership import Change, forget, kick, unban
from thingroom_homeserver.rooms.third_party_invite import why_not_invite

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def join(request: Request, services: Services) -> dict[str, Any]:
    return await _enter(request, services, "join")


async def knock(request: Request, services: Services) -> dict[str, Any]:
    return await _enter(request, services, "knock")


async def _enter(request: Request, services: Services, membership: str) -> dict[str, Any]:
    there = await directions_to(services, request.path.get("roomId") or request.path["roomIdOrAlias"])
    # `server_name` is what `via` was called before v1.12.
    via = (*request.query.getall("via", []), *request.query.getall("server_name", []), *there.servers)
    sender, memberships = sender_of(request.requester), services.federation.memberships
    change = Change(sender.user_id, membership, _reason(request))
    signed = request.body_field("third_party_signed", dict, None) if request.optional_body else None
    if membership == "join" and signed is not None:
        accepted(await memberships.join_by_third_party(sender, there.room_id, change, signed, via))
    else:
        accepted(await memberships.change(sender, there.room_id, change, via))
    return {"room_id": there.room_id}


async def leave(request: Request, services: Services) -> dict[str, Any]:
    sender = sender_of(request.requester)
    change = Change(sender.user_id, "leave", _reason(request))
    accepted(await services.federation.memberships.change(sender, request.path["roomId"], change))
    return {}


async def forget_room(request: Request, services: Services) -> dict[str, Any]:
    accepted(await forget(services.rooms, request.requester.user_id, request.path["roomId"]))
    return {}


async def invite(request: Request, services: Services) -> dict[str, Any]:
    if "user_id" not in request.body and "medium" in request.body:
        return await _invite_address(request, services)
    return await _change_other(request, services, "invite")


async def _invite_address(request: Request, services: Services) -> dict[str, Any]:
    """Whoever has the address now, or proves later that they have it."""
    room_id, sender = request.path["roomId"], sender_of(request.requester)
    invited = address_invite(services, request.body)
    accepted(await why_not_invite(services.rooms, sender, room_id))
    user_id = await find_invited(services, invited)
    if user_id is None:
        await leave_invite(services, sender, room_id, invited)
        return {}
    await know_users(services, (user_id,))
    change = Change(user_id, "invite", _reason(request))
    accepted(await services.federation.memberships.change(sender, room_id, change))
    return {}


async def ban(request: Request, services: Services) -> dict[str, Any]:
    return await _change_other(request, services, "ban")


async def _change_other(request: Request, services: Services, membership: str) -> dict[str, Any]:
    change = Change(request.body_field("user_id", str), membership, _reason(request))
    if membership == "invite":
        await know_users(services, (change.user_id,))
    sender = sender_of(request.requester)
    accepted(await services.federation.memberships.change(sender, request.path["roomId"], change))
    return {}


async def kick_user(request: Request, services: Services) -> dict[str, Any]:
    user_id, reason = request.body_field("user_id", str), _reason(request)
    accepted(await kick(services.rooms, sender_of(request.requester), request.path["roomId"], user_id, reason))
    return {}


async def unban_user(request: Request, services: Services) -> dict[str, Any]:
    user_id, reason = request.body_field("user_id", str), _reason(request)
    accepted(await unban(services.rooms, sender_of(request.requester), request.path["roomId"], user_id, reason))
    return {}


def _reason(request: Request) -> str | None:
    return request.body_field("reason", str, None) if request.optional_body else None


ENDPOINTS = (
    Endpoint("POST", client_path("join/{roomIdOrAlias}"), join, limit="join", ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/join"), join, limit="join", ts=True),
    Endpoint("POST", client_path("knock/{roomIdOrAlias}"), knock, limit="join", ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/leave"), leave, ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/forget"), forget_room),
    Endpoint("POST", client_path("rooms/{roomId}/invite"), invite, limit="invite", ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/kick"), kick_user, ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/ban"), ban, ts=True),
    Endpoint("POST", client_path("rooms/{roomId}/unban"), unban_user, ts=True),
)
