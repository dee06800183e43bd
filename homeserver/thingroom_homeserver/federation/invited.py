"""Invites of local users by other servers: checked, signed, and kept for the user.

May import core, accounts' outcomes, rooms, storage and this package. Source: Server-Server API, "Inviting to a room".
The other direction is inviting.py.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import event_signatures
from thingroom_homeserver.federation.handshake import MEMBER
from thingroom_homeserver.federation.room_glimpse import read_glimpse
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.signed_by import is_signed_by
from thingroom_homeserver.federation.verify_event import Bad, verify_events
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.out_of_band import set_out_of_band
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.residence import is_resident, server_may_take_part
from thingroom_homeserver.storage.account_data import blocks_invites
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import membership_of
from thingroom_homeserver.storage.rooms import room_row

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Invitation:
    """What came: from whom, what the path says, the event and what it shows of the room, all unchecked."""

    origin: str
    room_id: str
    event_id: str
    room_version: str
    pdu: JsonObject
    room_state: object


class Invited:
    """Invites of local users by users of other servers."""

    def __init__(self, rooms: Rooms, keys: ServerKeys) -> None:
        self._rooms = rooms
        self._keys = keys

    async def receive(self, invitation: Invitation) -> JsonObject | Refused:
        """The event with this server's signature; the user has the invite then. The user is known to be here."""
        event = await self._checked(invitation)
        if isinstance(event, Refused):
            return event
        refused = self._rooms.database.read(lambda connection: self._unwanted(connection, invitation.origin, event))
        if refused is not None:
            return refused
        glimpse = await read_glimpse(self._keys, invitation.room_state, event.room_id, event.room_version)
        if glimpse.faults:
            faults = "; ".join(glimpse.faults)
            logger.info("the invite %s from %s shows its room badly: %s", event.event_id, invitation.origin, faults)
            if event.rules.invites_need_whole_events:
                return Refused(Why.INVALID_PARAM, f"invite_room_state: {faults}")
        rooms = self._rooms
        signatures = event_signatures(event.pdu, rooms.server_name, rooms.signing_key, event.rules)
        signed = event_of_pdu({**event.pdu, "signatures": signatures}, event.event_id, event.rules)
        shown = (*glimpse.shown, stripped_state(signed))

        def write(transaction: Transaction) -> bool:
            # Where this server is in the room, the event comes with a transaction too, and counts only then.
            if is_resident(transaction, event.room_id):
                return True
            servers = (invitation.origin,)
            kept = set_out_of_band(rooms, transaction, signed, servers=servers, stripped_state=shown)
            return kept is not None

        return signed.pdu if await rooms.database.write(write) else OTHER_VERSION

    async def _checked(self, invitation: Invitation) -> Event | Refused:
        """The event, if it is a signed invite of a local user by a user of the server that sends it."""
        if invitation.room_version not in ROOM_RULES:
            return Refused(
                Why.INCOMPATIBLE_ROOM_VERSION, f"This server does not know room version {invitation.room_version}"
            )
        (event,) = await verify_events(self._keys, [invitation.pdu], invitation.room_version)
        if isinstance(event, Bad):
            return _invalid(event.reason)
        if event.event_id != invitation.event_id or event.room_id != invitation.room_id:
            return _invalid("the event is not the one that the path names")
        if event.content != invitation.pdu.get("content"):
            return _invalid("the content hash is wrong")
        if event.type != MEMBER or event.content.get("membership") != "invite":
            return _invalid("the event is no invite")
        if server_name_of(event.sender) != invitation.origin:
            return _invalid("the sender is not a user of your server")
        if not is_valid_user_id(event.state_key) or not self._rooms.is_local(str(event.state_key)):
            return _invalid("the state_key is not a user of this server")
        if not await is_signed_by(self._keys, event, invitation.origin):
            return _invalid("your server has not signed the event")
        return event

    def _unwanted(self, connection: Reader, origin: str, event: Event) -> Refused | None:
        """Why the invite cannot be, as far as this server can tell."""
        user_id, room_id = str(event.state_key), event.room_id
        row = room_row(connection, room_id)
        if row is not None and row.state_group is not None and row.version != event.room_version:
            return OTHER_VERSION
        if not server_may_take_part(self._rooms, connection, room_id, origin):
            return Refused(Why.FORBIDDEN, "Your server is not allowed to take part in this room")
        if blocks_invites(connection, user_id):
            return Refused(Why.INVITE_BLOCKED, f"{user_id} does not want to be invited")
        if is_resident(connection, room_id):
            member = membership_of(connection, room_id, user_id)
            if member is not None and member.membership in ("join", "ban"):
                return Refused(Why.FORBIDDEN, f"{user_id} is in the room already, or banned")
        return None


OTHER_VERSION = Refused(Why.INVALID_PARAM, "the room is known here with another version")


def _invalid(text: str) -> Refused:
    return Refused(Why.INVALID_PARAM, text)
