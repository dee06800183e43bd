"""What a /sync is made from: the sources it reads, and the wishes of the client.

May import rooms. Next: build.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

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
from thingroom_homeserver.sync.lazy_members import LazyMembers
from thingroom_homeserver.sync.sync_filter import SyncFilter

STATE_AFTER, UNSTABLE_STATE_AFTER = "state_after", "org.matrix.msc4222.state_after"


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
    lazy_members: LazyMembers = field(default_factory=LazyMembers)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """One client's wish. `since` None: an initial sync.

    state_after: what the state at the timeline's end is called in the answer; None: it is to be that at the start.
    """

    user_id: str
    device_id: str | None
    session: str | None
    since: SyncToken | None
    sync_filter: SyncFilter
    full_state: bool = False
    state_after: str | None = None

    @property
    def state_name(self) -> str:
        return self.state_after or "state"
