"""What a /sync is made from: the sources it reads, and the wishes of the client.

May import rooms. Next: build.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ports import (
    AccountData,
    DeviceKeys,
    DeviceLists,
    Presence,
    Receipts,
    ToDevice,
    Typing,
    Unread,
)
from thingroom_homeserver.rooms.tokens import SyncToken
from thingroom_homeserver.sync.sync_filter import SyncFilter


@dataclass(frozen=True, slots=True)
class SyncSources:
    """Everything that a /sync tells of."""

    rooms: Rooms
    account_data: AccountData
    receipts: Receipts
    typing: Typing
    device_keys: DeviceKeys
    to_device: ToDevice
    device_lists: DeviceLists
    unread: Unread | None = None
    presence: Presence | None = None


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One client's wish. `since` None: an initial sync. `state_after`: state at the timeline's end, not its start."""

    user_id: str
    device_id: str | None
    session: str | None
    since: SyncToken | None
    sync_filter: SyncFilter
    full_state: bool = False
    state_after: bool = False
