"""Users of other servers in a room, put there as if their events had arrived."""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.memberships import MembershipChange, membership_of, set_membership
from thingroom_homeserver.storage.positions import next_position


async def remote_member(rooms: Rooms, room_id: str, user_id: str, membership: str = "join") -> None:
    """The user's membership in the room from now on."""

    def write(transaction: Transaction) -> int:
        before = membership_of(transaction, room_id, user_id)
        position = next_position(transaction)
        previous = None if before is None else before.membership
        change = MembershipChange(room_id, user_id, position, f"$m{position}", membership, previous)
        set_membership(transaction, change, is_local=rooms.is_local(user_id))
        return position

    position = await rooms.database.write(write)
    rooms.notifier.publish_room(room_id, position)
