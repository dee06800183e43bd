"""Whose member events each device was told by lazy loading, so that they are not told with every message.

A memory and no more: what is forgotten is told again. A token says what the client has: what was told with a later
answer than the one it comes back with has not reached it, and is forgotten. May import the standard library and
sync_filter. Source: Client-Server API, "Lazy-loading room members". Next: room_sections.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from thingroom_homeserver.sync.sync_filter import SyncFilter

MAX_DEVICES = 1000
MAX_MEMBERS = 5000
_Key = tuple[str, str, SyncFilter]


class ToldMembers:
    """What one device was told, with one filter: (room id, user id) to the member event and the answer's position."""

    def __init__(self) -> None:
        self._members: dict[tuple[str, str], tuple[str, int]] = {}
        self._newest = 0

    def knows(self, room_id: str, user_id: str, event_id: str) -> bool:
        """Whether the client has this member event."""
        return self._members.get((room_id, user_id), (None, 0))[0] == event_id

    def note(self, room_id: str, position: int, members: Mapping[str, str]) -> None:
        """The answer up to `position` tells these: user id to event id."""
        if len(self._members) + len(members) > MAX_MEMBERS:
            self._members.clear()
        self._members.update({(room_id, user_id): (event_id, position) for user_id, event_id in members.items()})
        self._newest = max(self._newest, position)

    def come_back(self, position: int) -> None:
        """The client has the answers up to `position`, and none after that."""
        if self._newest > position:
            self._members = {key: told for key, told in self._members.items() if told[1] <= position}
            self._newest = position


class _Nobody(ToldMembers):
    """For who is told everything each time."""

    def note(self, room_id: str, position: int, members: Mapping[str, str]) -> None:
        pass


NOBODY_TOLD = _Nobody()


class LazyMembers:
    """The devices that synced last."""

    def __init__(self) -> None:
        self._devices: OrderedDict[_Key, ToldMembers] = OrderedDict()

    def of(self, user_id: str, device_id: str | None, sync_filter: SyncFilter, since: int | None) -> ToldMembers:
        """What the device has been told when it comes with the token of `since`; None: it begins anew."""
        if device_id is None or not sync_filter.lazy_load_members:
            return NOBODY_TOLD
        key = (user_id, device_id, sync_filter)
        told = self._devices.pop(key, None)
        if told is None or since is None:
            told = ToldMembers()
        else:
            told.come_back(since)
        self._devices[key] = told
        if len(self._devices) > MAX_DEVICES:
            self._devices.popitem(last=False)
        return told
