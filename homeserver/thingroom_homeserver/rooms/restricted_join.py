"""Joins without an invite into restricted rooms: whether one of the conditions is met, and who of us vouches for it.

May import core and storage. Sources: Client-Server API, "Restricted rooms"; Server-Server API, "Restricted rooms".
Used by membership.py for local users and for those of other servers that join with this server's help.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.residence import is_resident
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.memberships import membership_of

JOIN_RULES = "m.room.join_rules"
VOUCHER = "join_authorised_via_users_server"
"""The key in a join's content that names who vouches for it."""


def is_restricted(rooms: Rooms, transaction: Transaction, room: Room) -> bool:
    """Whether who is not invited may join by meeting a condition."""
    rules_event = rooms.cache.state_event(transaction, room, JOIN_RULES)
    rule = None if rules_event is None else rules_event.content.get("join_rule")
    return (rule == "restricted" and room.rules.restricted_join) or (
        rule == "knock_restricted" and room.rules.knock_restricted_join
    )


def voucher_for(rooms: Rooms, transaction: Transaction, room: Room, user_id: str) -> str | Refused | None:
    """The local user who vouches for this user's join; None where nobody needs to.

    Refused: FORBIDDEN, no condition is met; UNABLE_TO_AUTHORISE_JOIN, this server cannot tell; UNABLE_TO_GRANT_JOIN,
    one is met, but nobody here may invite.
    """
    if not is_restricted(rooms, transaction, room):
        return None
    if rooms.cache.membership(transaction, room, user_id) in ("join", "invite"):
        return None
    met = _meets_condition(rooms, transaction, room, user_id)
    if met is None:
        return Refused(Why.UNABLE_TO_AUTHORISE_JOIN, "This server is in none of the rooms whose members may join")
    if not met:
        return Refused(Why.FORBIDDEN, "You are in none of the rooms whose members may join")
    return _voucher(rooms, transaction, room) or Refused(
        Why.UNABLE_TO_GRANT_JOIN, "Nobody on this server may invite to the room"
    )


def _meets_condition(rooms: Rooms, transaction: Transaction, room: Room, user_id: str) -> bool | None:
    """None where it depends on rooms that this server is not in, and so knows nothing certain of."""
    rules_event = rooms.cache.state_event(transaction, room, JOIN_RULES)
    allow = None if rules_event is None else rules_event.content.get("allow")
    unknown = False
    for condition in allow if isinstance(allow, list) else ():
        if not isinstance(condition, dict) or condition.get("type") != "m.room_membership":
            continue
        room_id = condition.get("room_id")
        if not isinstance(room_id, str):
            continue
        if is_resident(transaction, room_id):
            member = membership_of(transaction, room_id, user_id)
            if member is not None and member.membership == "join":
                return True
        else:
            # A local user would make this server resident by being there.
            unknown |= not rooms.is_local(user_id)
    return None if unknown else False


def _voucher(rooms: Rooms, transaction: Transaction, room: Room) -> str | None:
    levels = rooms.cache.power_levels(transaction, room)
    for user_id in sorted(rooms.occupancy.joined_users(room.room_id)):
        joined = rooms.cache.membership(transaction, room, user_id) == "join"
        if joined and levels.user_level(user_id) >= levels.invite:
            return user_id
    return None
