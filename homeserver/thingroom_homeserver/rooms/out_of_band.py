"""Invites to, and knocks at, rooms that this server is not in: kept for the user, without a room around them.

The member event is stored with a place in the stream and no state, so that it reaches /sync, application services and
notifications; the room's name and the like come from the stripped state that came with it. Nothing here is
authorised: without the room's state nobody here could. May import core and storage.
Source: Server-Server API, "Inviting to a room", "Knocking upon a room". Next: federation/inviting.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.residence import is_resident
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import MembershipChange, membership_of, set_membership
from thingroom_homeserver.storage.out_of_band import OutOfBand, out_of_band_of, put_out_of_band
from thingroom_homeserver.storage.positions import next_position
from thingroom_homeserver.storage.rooms import insert_room, room_row
from thingroom_homeserver.storage.untold_leaves import drop_untold_leave

ENDED = ("leave", "ban")


def set_out_of_band(
    rooms: Rooms,
    transaction: Transaction,
    event: Event,
    *,
    servers: Sequence[str] = (),
    stripped_state: Sequence[JsonObject] = (),
) -> StoredEvent | None:
    """Make `event`, a member event of a local user, their membership in a room this server is not in.

    None, and nothing is written, if the room is known with another version.

    `servers` can be asked about the room. `stripped_state` has four keys an event. A leave or ban ends it: then both
    do not count. Readers are told after the commit.
    """
    assert event.state_key is not None
    assert rooms.is_local(event.state_key)
    room_id, user_id, membership = event.room_id, event.state_key, str(event.content.get("membership"))
    if not adopt_version(rooms, transaction, room_id, event.room_version):
        return None
    known = rooms.events.get(transaction, event.event_id)
    member = membership_of(transaction, room_id, user_id)
    if known is not None and member is not None and member.event_id == event.event_id:
        return known
    position = next_position(transaction)
    if known is None:
        stored = StoredEvent(event, position)
        rooms.events.insert(transaction, stored)
    elif known.position is None:
        stored = replace(known, position=position)
        rooms.events.promote(transaction, stored)
    else:
        stored = known
    previous = None if member is None else member.membership
    change = MembershipChange(room_id, user_id, position, event.event_id, membership, previous)
    set_membership(transaction, change, is_local=True)
    if membership not in ENDED:
        drop_untold_leave(transaction, room_id, user_id)
        entry = OutOfBand(room_id, user_id, event.event_id, event.room_version, tuple(servers), tuple(stripped_state))
        put_out_of_band(transaction, entry)
    if rooms.watcher is not None:
        rooms.watcher.stored(
            rooms, transaction, Room(room_id, event.rules, {}, None, {}), replace(stored, position=position)
        )

    def tell() -> None:
        rooms.occupancy.set(room_id, user_id, joined=False)
        rooms.notifier.publish_room(room_id, position, (user_id,))

    transaction.after_commit(tell)
    return stored


def withdraw_out_of_band(rooms: Rooms, transaction: Transaction, event: Event) -> bool:
    """End a local user's invite or knock by a leave or ban that another server sent. False if it does not fit.

    `event` passed the checks of format, signatures and hashes. It must name the invite or knock as authorising it:
    only servers in the room know its id.
    """
    user_id = event.state_key
    if event.type != "m.room.member" or user_id is None or not rooms.is_local(user_id):
        return False
    if event.content.get("membership") not in ENDED or is_resident(transaction, event.room_id):
        return False
    entry = out_of_band_of(transaction, event.room_id, user_id)
    if entry is None or entry.room_version != event.room_version or entry.event_id not in event.auth_event_ids:
        return False
    return set_out_of_band(rooms, transaction, event) is not None


def adopt_version(rooms: Rooms, transaction: Transaction, room_id: str, room_version: str) -> bool:
    """Know the room with this version, before any of its events is stored. False if it is known with another one.

    What a false invite claimed of a room whose state this server never had is taken back.
    """
    assert room_version in ROOM_RULES
    row = room_row(transaction, room_id)
    if row is not None and row.version == room_version:
        return True
    if row is not None:
        if row.state_group is not None:
            return False
        rooms.events.forget_room(transaction, room_id)
        for table in ("out_of_band_memberships", "room_members"):
            transaction.execute(f"DELETE FROM {table} WHERE room_id = ?", (room_id,))  # noqa: S608 - constants
        transaction.execute("DELETE FROM rooms WHERE room_id = ?", (room_id,))
    insert_room(transaction, room_id, room_version, creator="")
    rooms.events.note_version(room_id, room_version)
    transaction.after_rollback(lambda: rooms.events.forget_version(room_id))
    return True
