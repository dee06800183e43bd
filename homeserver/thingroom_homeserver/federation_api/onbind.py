"""PUT /_matrix/federation/v1/3pid/onbind: an identity server says that an address belongs to a user of this server, and
which rooms it was invited to meanwhile.

Anybody may say so; what counts is what the identity server has signed, which the room of each invite checks.
Source: Server-Server API, "Third-party invites". Next: exchange_third_party_invite.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.core.identifiers import is_valid_room_id, is_valid_user_id
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.residence import is_resident

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

logger = logging.getLogger(__name__)

MAX_INVITES = 20


async def onbind(request: Request, services: Services) -> dict[str, Any]:
    user_id, invites = request.body_field("mxid", str), request.body_field("invites", list)
    for name in ("medium", "address"):
        request.body_field(name, str)
    if not is_valid_user_id(user_id) or not services.rooms.is_local(user_id) or not services.accounts.exists(user_id):
        raise MatrixError(400, "M_INVALID_PARAM", "mxid is not a user of this server")
    fitting = [invite for invite in invites[:MAX_INVITES] if _fits(invite, user_id)]
    await asyncio.gather(*(_take_up(services, user_id, invite) for invite in fitting))
    return {}


def _fits(invite: object, user_id: str) -> bool:
    if not isinstance(invite, dict) or invite.get("mxid") != user_id:
        return False
    signed = invite.get("signed")
    return (
        isinstance(signed, dict)
        and signed.get("mxid") == user_id
        and isinstance(signed.get("token"), str)
        and is_valid_room_id(invite.get("room_id"))
        and is_valid_user_id(invite.get("sender"))
    )


async def _take_up(services: Services, user_id: str, invite: dict[str, Any]) -> None:
    """Have the inviter's server make the invite; one that is in the room itself can stand in for it."""
    third_party, rooms = services.federation.memberships.third_party, services.rooms
    room_id, sender, signed = invite["room_id"], invite["sender"], invite["signed"]
    outcome: object = None
    if not rooms.is_local(sender):
        outcome = await third_party.have_taken_up(room_id, sender, user_id, signed)
        if not isinstance(outcome, Refused) or outcome.why is not Why.UNREACHABLE:
            _note(outcome, invite)
            return
    if services.database.read(lambda connection: is_resident(connection, room_id)):
        outcome = await third_party.take_up(room_id, sender, user_id, signed)
    _note(outcome, invite)


def _note(outcome: object, invite: dict[str, Any]) -> None:
    if isinstance(outcome, Refused):
        logger.info("the third-party invite to %s by %s fails: %s", invite["room_id"], invite["sender"], outcome.text)


ENDPOINTS = (Endpoint("PUT", ("/_matrix/federation/v1/3pid/onbind",), onbind, auth=Auth.NONE, limit="onbind"),)
