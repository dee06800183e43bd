"""Joining by a third-party invite: the signed statement of an identity server becomes an invite by whoever sent it.

May import core and storage. Source: Client-Server API, "Third-party Invites"; the signature is checked by auth rule
5.4.1. Between servers: federation/third_party.py. Next: membership.py.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.membership import MEMBER, Change, apply_change
from thingroom_homeserver.rooms.outcomes import Abandoned, Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import write_approved

THIRD_PARTY = "m.room.third_party_invite"


def invite_content(pending: Event, signed: JsonObject) -> JsonObject:
    """The content of the invite that a third-party invite becomes."""
    name = pending.content.get("display_name")
    return {
        "membership": "invite",
        "third_party_invite": {"display_name": name if isinstance(name, str) else "", "signed": signed},
    }


async def join_by_third_party(
    rooms: Rooms, sender: Sender, room_id: str, change: Change, signed: JsonObject
) -> Sent | Refused:
    """Join with `signed` (mxid, token, signatures), which must fit a third-party invite in the room."""

    def write(transaction: Transaction) -> Sent | Refused:
        room = rooms.cache.get(transaction, room_id)
        if room is None:
            return Refused(Why.NOT_FOUND, "This server knows no such room")
        token = signed.get("token")
        pending = rooms.cache.state_event(transaction, room, THIRD_PARTY, token) if isinstance(token, str) else None
        if pending is None or signed.get("mxid") != sender.user_id:
            return Refused(Why.FORBIDDEN, "The room has no such third-party invite for you")
        if rooms.cache.membership(transaction, room, sender.user_id) not in ("invite", "join"):
            # Made here also in the name of a user of another server: the identity server's signature is what counts.
            draft = Draft(MEMBER, invite_content(pending, signed), sender.user_id)
            outcome = append_event(rooms, transaction, room, Sender(pending.sender), draft)
            if isinstance(outcome, Refused):
                return outcome
        joined = apply_change(rooms, transaction, room, sender, change)
        if isinstance(joined, Refused):
            raise Abandoned(joined)
        return joined

    try:
        return await write_approved(rooms, write)
    except Abandoned as abandoned:
        return abandoned.refused
