"""Inviting by an address: the user whom the identity server knows, or else whoever proves later that it is theirs.

May import the rooms services and outgoing/identity_server.py. Used by POST /invite and /createRoom.
Source: client-server API, "Third-party Invites"; identity service API, "Invitation storage".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.identity import identity_error, text_field, trusted_server
from thingroom_homeserver.client_api.room_errors import accepted
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.outgoing.identity_server import IdentityRefused
from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.third_party_invite import described_room, put_third_party_invite, why_not_invite

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

EMAIL = "email"


@dataclass(frozen=True, slots=True)
class AddressInvite:
    """Whom to invite, and the identity server to ask under the client's token for it."""

    id_server: str
    token: str
    medium: str
    address: str


def address_invite(services: Services, body: dict[str, Any]) -> AddressInvite:
    """The invite of a request. Raises MatrixError."""
    fields = {name: text_field(body, name) for name in ("id_server", "id_access_token", "medium", "address")}
    if fields["medium"] != EMAIL:
        raise MatrixError(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "Only email addresses can be invited")
    address = fields["address"].lower()
    return AddressInvite(trusted_server(services, fields["id_server"]), fields["id_access_token"], EMAIL, address)


async def find_invited(services: Services, invite: AddressInvite) -> str | None:
    """The user who has the address, if the identity server knows. Raises MatrixError."""
    found = await services.identity_servers.lookup(invite.id_server, invite.token, invite.medium, invite.address)
    if isinstance(found, IdentityRefused):
        raise identity_error(found)
    return found


async def leave_invite(services: Services, sender: Sender, room_id: str, invite: AddressInvite) -> None:
    """Have the invite kept for whoever proves that the address is theirs; the room says so. Raises MatrixError."""
    rooms = services.rooms
    accepted(await why_not_invite(rooms, sender, room_id))
    described = rooms.database.read(lambda connection: described_room(rooms, connection, sender.user_id, room_id))
    wanted = {"medium": invite.medium, "address": invite.address, "room_id": room_id, "sender": sender.user_id}
    stored = await services.identity_servers.store_invite(invite.id_server, invite.token, {**described, **wanted})
    if isinstance(stored, IdentityRefused):
        raise identity_error(stored)
    accepted(await put_third_party_invite(rooms, sender, room_id, stored.token, stored.content))
