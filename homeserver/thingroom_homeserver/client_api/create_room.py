"""POST /createRoom."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.room_errors import accepted, know_users, sender_of
from thingroom_homeserver.client_api.third_party_invites import (
    AddressInvite,
    address_invite,
    find_invited,
    leave_invite,
)
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.federation.client import NOT_FEDERATING
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.create_room import InitialState, RoomWish, create_room
from thingroom_homeserver.rooms.membership import Change
from thingroom_homeserver.rooms.outcomes import Refused, Sender

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

logger = logging.getLogger(__name__)

MAX_BY_ADDRESS = 20
MAX_ELSEWHERE = 100
"""How many users of other servers can be invited at once: each is a request of its own, and all are made together."""


class _State(msgspec.Struct):
    type: str
    content: dict[str, Any]
    state_key: str = ""


class _Body(msgspec.Struct):
    """The request's known keys; null counts as missing."""

    visibility: Literal["public", "private"] | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] | None = None
    invite_3pid: list[dict[str, Any]] | None = None
    room_version: str | None = None
    creation_content: dict[str, Any] | None = None
    initial_state: list[_State] | None = None
    preset: Literal["private_chat", "public_chat", "trusted_private_chat"] | None = None
    is_direct: bool | None = None
    power_level_content_override: dict[str, Any] | None = None


async def create(request: Request, services: Services) -> dict[str, Any]:
    try:
        body = msgspec.convert(request.optional_body, _Body)
    except msgspec.ValidationError as error:
        raise MatrixError(400, "M_BAD_JSON", str(error)) from None
    known, to_leave = await _by_address(services, body.invite_3pid or [])
    public = body.visibility == "public"
    wish = RoomWish(
        preset=body.preset or ("public_chat" if public else "private_chat"),
        is_public=public,
        room_version=body.room_version,
        creation_content=body.creation_content or {},
        power_levels=body.power_level_content_override or {},
        initial_state=tuple(
            InitialState(state.type, state.state_key, state.content) for state in body.initial_state or ()
        ),
        alias_localpart=body.room_alias_name,
        name=body.name,
        topic=body.topic,
        invite=(*(body.invite or ()), *known),
        is_direct=body.is_direct or False,
    )
    if body.room_alias_name is not None:
        alias = f"#{body.room_alias_name}:{services.rooms.server_name}"
        granted(services.directory.why_unfit(alias, request.requester.appservice))
    await know_users(services, wish.invite)
    is_local = services.rooms.is_local
    others = [each for each in dict.fromkeys(wish.invite) if is_valid_user_id(each) and not is_local(each)]
    if len(others) > MAX_ELSEWHERE:
        text = f"At most {MAX_ELSEWHERE} users of other servers can be invited at once"
        raise MatrixError(400, "M_INVALID_PARAM", text)
    if others and not services.federation.enabled:
        raise MatrixError(502, "M_UNKNOWN", NOT_FEDERATING)
    if others and wish.creation_content.get("m.federate") is False:
        raise MatrixError(403, "M_FORBIDDEN", "Users of other servers cannot be in a room that is not federated")
    sender = sender_of(request.requester)
    created = accepted(await create_room(services.rooms, sender, wish))
    await asyncio.gather(*(_invite(services, sender, created.room_id, user_id, wish) for user_id in others))
    for invited in to_leave:
        try:
            await leave_invite(services, sender, created.room_id, invited)
        except MatrixError as error:
            # The room is there; who made it can see that this invite is not in it.
            logger.info("an invite by address was not left: %s", error)
    return {"room_id": created.room_id}


async def _invite(services: Services, sender: Sender, room_id: str, user_id: str, wish: RoomWish) -> None:
    """Invite a user of another server. Where that fails the room stands all the same; its members list shows it."""
    change = Change(user_id, "invite", is_direct=wish.is_direct)
    outcome = await services.federation.memberships.change(sender, room_id, change)
    if isinstance(outcome, Refused):
        logger.info("%s is not invited to the new room %s: %s", user_id, room_id, outcome.text)


async def _by_address(services: Services, wanted: list[dict[str, Any]]) -> tuple[list[str], list[AddressInvite]]:
    """Users whom identity servers know, and invites to be left for the others. Raises MatrixError."""
    if len(wanted) > MAX_BY_ADDRESS:
        raise MatrixError(400, "M_INVALID_PARAM", f"At most {MAX_BY_ADDRESS} people can be invited by address at once")
    invites = [address_invite(services, each) for each in wanted]
    found = [await find_invited(services, invited) for invited in invites]
    known = [user_id for user_id in found if user_id is not None]
    return known, [invited for invited, user_id in zip(invites, found, strict=True) if user_id is None]


ENDPOINTS = (Endpoint("POST", client_path("createRoom"), create, limit="create_room", ts=True),)
