"""Third-party invites: one is put into the room under a token, and whoever an identity server vouches for redeems it.

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
from thingroom_homeserver.rooms.send_event import UNKNOWN_ROOM, send_state
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry

THIRD_PARTY = "m.room.third_party_invite"
_DESCRIBED = (
    ("room_alias", "m.room.canonical_alias", "alias"),
    ("room_avatar_url", "m.room.avatar", "url"),
    ("room_join_rules", "m.room.join_rules", "join_rule"),
    ("room_name", "m.room.name", "name"),
    ("room_type", "m.room.create", "type"),
)
_NO_ROOM = Refused(Why.NOT_FOUND, "This server knows no such room")


async def why_not_invite(rooms: Rooms, sender: Sender, room_id: str) -> Refused | None:
    """Why the sender may not invite by address, asked before anybody gets a mail."""

    def look(transaction: Transaction) -> Refused | None:
        room = rooms.cache.get(transaction, room_id)
        if room is None or rooms.cache.membership(transaction, room, sender.user_id) != "join":
            return UNKNOWN_ROOM
        levels = rooms.cache.power_levels(transaction, room)
        if levels.user_level(sender.user_id) < levels.invite:
            return Refused(Why.FORBIDDEN, "Your power level is too low to invite")
        return None

    return await rooms.database.write(look)


def described_room(rooms: Rooms, connection: Reader, sender: str, room_id: str) -> JsonObject:
    """What an identity server may say of the room and of who invites, where the room says it."""
    described: JsonObject = {}
    for name, event_type, state_key, key in (
        *((name, event_type, "", key) for name, event_type, key in _DESCRIBED),
        ("sender_display_name", MEMBER, sender, "displayname"),
        ("sender_avatar_url", MEMBER, sender, "avatar_url"),
    ):
        event_id = current_entry(connection, room_id, event_type, state_key)
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        value = None if stored is None else stored.event.content.get(key)
        if isinstance(value, str) and value:
            described[name] = value
    return described


async def put_third_party_invite(
    rooms: Rooms, sender: Sender, room_id: str, token: str, content: JsonObject
) -> Sent | Refused:
    """The invite that the identity server keeps under `token`, as an event."""
    return await send_state(rooms, sender, room_id, THIRD_PARTY, token, content)


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
            return _NO_ROOM
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
