"""Invite, join, leave, kick, ban, unban, knock, forget, and the profile that member events carry.

The auth rules decide who may; what is checked here besides is what the client API asks beyond them.
May import core and storage. Source: Client-Server API, "Room membership". Next: append_event.py.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.carry_over import carry_over
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent, Why
from thingroom_homeserver.rooms.policies import write_approved
from thingroom_homeserver.rooms.residence import knows_best
from thingroom_homeserver.rooms.restricted_join import VOUCHER, voucher_for
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.send_event import same_state, sent
from thingroom_homeserver.storage.account_data import blocks_invites
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import forget_room, membership_of

MEMBER = "m.room.member"
PROFILE_KEYS = ("displayname", "avatar_url")
_NO_ROOM = Refused(Why.NOT_FOUND, "This server knows no such room")


@dataclass(frozen=True, slots=True)
class Change:
    """A wished membership of `user_id`. `extra` is further content, such as a profile that a client sets itself."""

    user_id: str
    membership: str
    reason: str | None = None
    is_direct: bool = False
    extra: JsonObject | None = None


async def change_membership(rooms: Rooms, sender: Sender, room_id: str, change: Change) -> Sent | Refused:
    """Set a user's membership in a room; the sender's own, or another's by invite, kick and ban."""

    def write(transaction: Transaction) -> Sent | Refused:
        room = rooms.cache.get(transaction, room_id)
        if room is None:
            return _NO_ROOM
        if change.membership in ("join", "knock") and not knows_best(transaction, room_id):
            return Refused(Why.UNREACHABLE, "This server is not in the room any more; another one must be asked")
        return apply_change(rooms, transaction, room, sender, change)

    return await write_approved(rooms, write)


async def kick(rooms: Rooms, sender: Sender, room_id: str, user_id: str, reason: str | None) -> Sent | Refused:
    """Make another user leave, who is in the room, invited or knocking."""
    return await _change_from(
        rooms, sender, room_id, Change(user_id, "leave", reason), ("join", "invite", "knock"), "is not in the room"
    )


async def unban(rooms: Rooms, sender: Sender, room_id: str, user_id: str, reason: str | None) -> Sent | Refused:
    """Let a banned user be invited or join again."""
    return await _change_from(rooms, sender, room_id, Change(user_id, "leave", reason), ("ban",), "is not banned")


async def _change_from(
    rooms: Rooms, sender: Sender, room_id: str, change: Change, from_memberships: tuple[str, ...], else_text: str
) -> Sent | Refused:
    def write(transaction: Transaction) -> Sent | Refused:
        room = rooms.cache.get(transaction, room_id)
        if room is None:
            return _NO_ROOM
        if rooms.cache.membership(transaction, room, change.user_id) not in from_memberships:
            return Refused(Why.FORBIDDEN, f"{change.user_id} {else_text}")
        return apply_change(rooms, transaction, room, sender, change)

    return await write_approved(rooms, write)


async def forget(rooms: Rooms, user_id: str, room_id: str) -> Refused | None:
    """Take a room that the user left out of their sight for good."""

    def write(transaction: Transaction) -> Refused | None:
        member = membership_of(transaction, room_id, user_id)
        if member is None:
            return Refused(Why.NOT_FOUND, "You were never in this room")
        if member.membership not in ("leave", "ban"):
            return Refused(Why.UNKNOWN, "You must leave the room before you forget it")
        forget_room(transaction, user_id, room_id)
        return None

    return await rooms.database.write(write)


async def update_profile(rooms: Rooms, sender: Sender) -> None:
    """Tell the rooms the user is in of the user's changed profile; where that is refused, the old one stays."""

    def write(transaction: Transaction, room_id: str) -> None:
        room = rooms.cache.get(transaction, room_id)
        if room is not None and rooms.cache.membership(transaction, room, sender.user_id) == "join":
            apply_change(rooms, transaction, room, sender, Change(sender.user_id, "join"))

    room_ids = sorted(rooms.occupancy.joined_rooms(sender.user_id))
    await asyncio.gather(*(write_approved(rooms, partial(write, room_id=room_id)) for room_id in room_ids))


def apply_change(rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, change: Change) -> Sent | Refused:
    """The same inside a write function. If it is refused, nothing was written."""
    if not is_valid_user_id(change.user_id):
        return Refused(Why.INVALID_PARAM, f"{change.user_id!r} is not a user id")
    if change.membership == "invite":
        if not rooms.is_local(change.user_id):
            return Refused(Why.UNREACHABLE, "The invited user's server must be asked first")
        if blocks_invites(transaction, change.user_id):
            return Refused(Why.INVITE_BLOCKED, f"{change.user_id} does not want to be invited")
    current = rooms.cache.state_event(transaction, room, MEMBER, change.user_id)
    content = _content(rooms, transaction, sender, change, current)
    if change.membership == "join":
        refused = _authorise_join(rooms, transaction, room, sender, content)
        if refused is not None:
            return refused
    if change.membership in ("leave", "ban") and current is not None:
        unchanged = current.content.get("membership") == change.membership and current.sender == sender.user_id
        if unchanged and current.content.get("reason") == change.reason:
            return _as_it_is(rooms, transaction, current)
    same = same_state(rooms, transaction, room, sender, MEMBER, change.user_id, content)
    if same is not None:
        return same
    outcome = append_event(rooms, transaction, room, sender, Draft(MEMBER, content, change.user_id))
    was_in = current is not None and current.content.get("membership") == "join"
    if change.membership == "join" and not was_in and not isinstance(outcome, Refused):
        carry_over(rooms, transaction, room, change.user_id)
    return sent(outcome)


def invite_draft(rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, change: Change) -> Draft | Refused:
    """The invite of a user of another server, which is to see it before it is stored."""
    if not is_valid_user_id(change.user_id):
        return Refused(Why.INVALID_PARAM, f"{change.user_id!r} is not a user id")
    if rooms.cache.create_event(transaction, room).content.get("m.federate") is False:
        return Refused(Why.FORBIDDEN, "Users of other servers cannot be in a room that is not federated")
    current = rooms.cache.state_event(transaction, room, MEMBER, change.user_id)
    return Draft(MEMBER, _content(rooms, transaction, sender, change, current), change.user_id)


def member_content(rooms: Rooms, connection: Reader, change: Change) -> JsonObject:
    """What a member event by the user themselves says, in a room that this server is not in."""
    content: JsonObject = dict(change.extra or {})
    content["membership"] = change.membership
    if change.reason is not None:
        content["reason"] = change.reason
    if change.membership in ("join", "knock"):
        _add_profile(rooms, connection, change.user_id, content)
    return content


def _content(
    rooms: Rooms, transaction: Transaction, sender: Sender, change: Change, current: Event | None
) -> JsonObject:
    content: JsonObject = dict(change.extra or {})
    content["membership"] = change.membership
    if change.reason is not None:
        content["reason"] = change.reason
    if change.membership in ("join", "invite", "knock"):
        _add_profile(rooms, transaction, change.user_id, content)
    elif current is not None and change.user_id != sender.user_id:
        for name in PROFILE_KEYS:
            if name in current.content:
                content.setdefault(name, current.content[name])
    if change.is_direct and change.membership == "invite":
        content["is_direct"] = True
    return content


def _add_profile(rooms: Rooms, connection: Reader, user_id: str, content: JsonObject) -> None:
    profile = rooms.profiles.profile_of(connection, user_id)
    for name, value in (("displayname", profile.displayname), ("avatar_url", profile.avatar_url)):
        if value is not None:
            content.setdefault(name, value)


def _as_it_is(rooms: Rooms, transaction: Transaction, event: Event) -> Sent | Refused:
    stored = rooms.events.get(transaction, event.event_id)
    assert stored is not None
    return sent(stored)


def _authorise_join(
    rooms: Rooms, transaction: Transaction, room: Room, sender: Sender, content: JsonObject
) -> Refused | None:
    """In a restricted room, find the member who vouches for a join that has no invite (and put it in `content`)."""
    content.pop(VOUCHER, None)
    voucher = voucher_for(rooms, transaction, room, sender.user_id)
    if isinstance(voucher, Refused):
        return voucher
    if voucher is not None:
        content[VOUCHER] = voucher
    return None
