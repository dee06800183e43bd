"""What sliding sync is made from: rooms, and the ports of rooms/ports.py that other parts fill.

The composition root fills `SlidingSources`; a part that is None is told of as empty. May import rooms.
Next: extensions.py, answer.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ports import AccountData, DeviceKeys, DeviceLists, Receipts, ToDevice, Typing, Unread
from thingroom_homeserver.sliding.connections import Connections
from thingroom_homeserver.sliding.user_rooms import RoomLists


@dataclass(frozen=True, slots=True)
class SlidingSources:
    """Everything that a sliding sync tells of."""

    rooms: Rooms
    account_data: AccountData
    receipts: Receipts
    typing: Typing
    device_keys: DeviceKeys
    lists: RoomLists
    connections: Connections
    to_device: ToDevice | None = None
    device_lists: DeviceLists | None = None
    unread: Unread | None = None
