"""Helping users of other servers into and out of rooms that this server is in: templates for their member events, and
taking in what they make of them.

May import core, rooms, storage and this package. Sources: Server-Server API, "Joining Rooms", "Restricted rooms",
"Knocking upon a room", "Leaving Rooms". Its callers are the endpoints make_… and send_… in federation_api/.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event, MalformedEvent, parse_untrusted_pdu
from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.core.signing import event_signatures
from thingroom_homeserver.federation.handshake import MEMBER, Membership
from thingroom_homeserver.federation.intake import receive
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.verify_event import Bad, verify_events
from thingroom_homeserver.rooms.append_event import Draft, build_local_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Why
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Duplicate, Missing, Rejected, SoftFailed
from thingroom_homeserver.rooms.restricted_join import VOUCHER, voucher_for
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.rooms import room_version

NO_ROOM = Refused(Why.NOT_FOUND, "This server is not in that room")
_NOT_IN_TEMPLATES = frozenset({"hashes", "signatures", "event_id"})


@dataclass(frozen=True, slots=True)
class Submitted:
    """What came with send_join, send_leave or send_knock: the path's ids and the event, unchecked."""

    origin: str
    room_id: str
    event_id: str
    pdu: JsonObject


class Helping:
    """What a resident server does for others. The room is known to be one that this server is in."""

    def __init__(self, rooms: Rooms, keys: ServerKeys) -> None:
        self._rooms = rooms
        self._keys = keys

    async def template(
        self, membership: Membership, room_id: str, user_id: str, versions: Collection[str] | None
    ) -> JsonObject | Refused:
        """`room_version`, and an `event` that would be allowed now. `versions`: those the other server knows."""

        def write(transaction: Transaction) -> JsonObject | Refused:
            room = self._rooms.cache.get(transaction, room_id)
            if room is None:
                return NO_ROOM
            version = room.rules.version
            if versions is not None and version not in versions:
                text = f"The room has version {version}, which your server does not know"
                return Refused(Why.INCOMPATIBLE_ROOM_VERSION, text, {"room_version": version})
            content: JsonObject = {"membership": membership}
            if membership == "join":
                voucher = voucher_for(self._rooms, transaction, room, user_id)
                if isinstance(voucher, Refused):
                    return voucher
                if voucher is not None:
                    content[VOUCHER] = voucher
            draft = Draft(MEMBER, content, user_id)
            event = build_local_event(self._rooms, transaction, room, Sender(user_id), draft)
            if isinstance(event, Refused):
                return event
            template = {name: value for name, value in event.pdu.items() if name not in _NOT_IN_TEMPLATES}
            return {"room_version": version, "event": {**template, "origin": self._rooms.server_name}}

        return await self._rooms.database.write(write)

    async def take(self, membership: Membership, submitted: Submitted) -> StoredEvent | Refused:
        """Bring the event into the room, countersigned where a user of this server vouches for it, and send it on."""
        event = await self._checked(membership, submitted)
        if isinstance(event, Refused):
            return event
        await self._rooms.policies.prepare(self._rooms, [event])
        return await self._rooms.database.write(lambda transaction: self._receive(transaction, event))

    def _receive(self, transaction: Transaction, event: Event) -> StoredEvent | Refused:
        match receive(self._rooms, transaction, event, now_ms=self._rooms.clock.now_ms(), send_out=True):
            case Accepted(stored):
                return stored
            case Duplicate(stored) if stored.position is not None:
                return stored
            case Rejected(reason) | SoftFailed(_, reason):
                return Refused(Why.FORBIDDEN, f"The room does not allow this: {reason}")
            case Missing():
                return Refused(Why.INVALID_PARAM, "This server does not know the events that yours follows")
            case _:
                return Refused(Why.FORBIDDEN, "The room did not allow this")

    async def _checked(self, membership: Membership, submitted: Submitted) -> Event | Refused:
        """The event, if it is one that the server may send in here: its own user's own membership, well signed."""
        version = self._rooms.database.read(lambda connection: room_version(connection, submitted.room_id))
        if version is None:
            return NO_ROOM
        event = parse_untrusted_pdu(submitted.pdu, version)
        if isinstance(event, MalformedEvent):
            return _invalid(event.reason)
        if event.event_id != submitted.event_id or event.room_id != submitted.room_id:
            return _invalid("The event is not the one that the path names")
        if event.type != MEMBER or event.content.get("membership") != membership:
            return _invalid(f"Not a {membership} event")
        if event.state_key != event.sender:
            return _invalid("The event is about another user than its sender")
        if server_name_of(event.sender) != submitted.origin:
            return _invalid("The sender is not a user of your server")
        pdu = submitted.pdu
        if membership == "join" and self._is_vouched_for_here(event):
            refused = await self._rooms.database.write(lambda transaction: self._why_not_vouch(transaction, event))
            if refused is not None:
                return refused
            rooms = self._rooms
            pdu = {**pdu, "signatures": event_signatures(pdu, rooms.server_name, rooms.signing_key, event.rules)}
        (checked,) = await verify_events(self._keys, [pdu], version)
        if isinstance(checked, Bad):
            return _invalid(checked.reason)
        if checked.content != event.content:
            return _invalid("The content hash is wrong")
        return checked

    def _is_vouched_for_here(self, event: Event) -> bool:
        voucher = event.content.get(VOUCHER)
        return event.rules.restricted_join and is_valid_user_id(voucher) and self._rooms.is_local(str(voucher))

    def _why_not_vouch(self, transaction: Transaction, event: Event) -> Refused | None:
        """Why the signature of this server may not go under a restricted join. Its power level the auth rules check."""
        room = self._rooms.cache.get(transaction, event.room_id)
        if room is None:
            return NO_ROOM
        voucher = voucher_for(self._rooms, transaction, room, event.sender)
        return voucher if isinstance(voucher, Refused) else None


def _invalid(text: str) -> Refused:
    return Refused(Why.INVALID_PARAM, text)
