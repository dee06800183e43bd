"""Whose device lists a client must fetch anew, and whose it may forget.

A key upload writes one row, whatever the number of rooms; a reader goes through the users that changed and the rooms
that changed, never through all rooms it is in (but for the first answer after a restart, as rooms are).
May import storage, the notifier and rooms' occupancy. Source: client-server API, "Tracking the device list for a user".
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.rooms.occupancy import Occupancy
from thingroom_homeserver.storage import device_lists as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.device_list_outbox import SIGNING_KEYS, queue_changes
from thingroom_homeserver.storage.memberships import changes_of_user, rooms_of_user
from thingroom_homeserver.storage.positions import next_position
from thingroom_homeserver.storage.room_servers import servers_sharing_with


@dataclass(frozen=True, slots=True)
class DeviceListNews:
    """`changed`: fetch their keys again; `left`: no room is shared with them any more. Sorted user ids."""

    changed: list[str]
    left: list[str]

    def __bool__(self) -> bool:
        return bool(self.changed or self.left)


class DeviceLists:
    """The stream of device list changes."""

    def __init__(self, occupancy: Occupancy, notifier: Notifier) -> None:
        self._occupancy = occupancy
        self._notifier = notifier
        self._listeners: list[Callable[[Collection[str]], None]] = []

    def add_listener(self, listener: Callable[[Collection[str]], None]) -> None:
        """Call `listener(servers)` when something was queued for other servers; it must be quick."""
        self._listeners.append(listener)

    def note_change(
        self,
        transaction: Transaction,
        user_id: str,
        device_ids: Collection[str] = (),
        *,
        signing_keys: bool = False,
    ) -> None:
        """These devices of a local user, or the cross-signing keys, change with this write.

        Whoever shares a room hears of it, here and on other servers.
        """
        position = next_position(transaction)
        storage.note_change(transaction, user_id, position)
        own_name = user_id.partition(":")[2]
        servers = [name for name in servers_sharing_with(transaction, user_id) if name != own_name]
        queue_changes(transaction, user_id, [*device_ids, *([SIGNING_KEYS] if signing_keys else [])], servers)

        def tell() -> None:
            self._notifier.publish_users(self._neighbours(user_id), position)
            for listener in self._listeners if servers else ():
                listener(servers)

        transaction.after_commit(tell)

    def note_remote_change(self, transaction: Transaction, user_id: str) -> None:
        """The devices or keys of another server's user change with this write, as far as this server knows."""
        position = next_position(transaction)
        storage.note_change(transaction, user_id, position)
        neighbours: set[str] = set()
        for member in rooms_of_user(transaction, user_id, ("join",)):
            neighbours |= self._occupancy.joined_users(member.room_id)
        transaction.after_commit(lambda: self._notifier.publish_users(neighbours, position))

    def note_own_signature(self, transaction: Transaction, signer: str, user_id: str) -> None:
        """`signer` signs another user's key with this write; the signer's own devices hear of it."""
        position = next_position(transaction)
        storage.note_own_signature(transaction, signer, user_id, position)
        transaction.after_commit(lambda: self._notifier.publish_user(signer, position))

    def news(self, connection: Reader, user_id: str, since: int, upto: int) -> DeviceListNews:
        """What a client of `user_id` has not heard of at since < position <= upto."""
        mine = self._occupancy.joined_rooms(user_id)
        changed = set(storage.users_signed_by(connection, user_id, since, upto))
        for other in storage.users_changed(connection, since, upto):
            if other == user_id or self._shares_room(connection, user_id, other):
                changed.add(other)
        met: set[str] = set()
        own_rooms: set[str] = set()
        for change in changes_of_user(connection, user_id, since, upto):
            if change.room_id not in own_rooms and (change.membership == "join") != (change.previous == "join"):
                own_rooms.add(change.room_id)
                met.update(storage.joined_members(connection, change.room_id))
        changed_rooms = self._notifier.rooms_changed_since(since)
        rooms = mine if changed_rooms is None else mine & set(changed_rooms)
        for room_id in rooms | own_rooms:
            met |= storage.comings_and_goings(connection, room_id, since, upto)
        met.discard(user_id)
        still = {other for other in met if self._shares_room(connection, user_id, other)}
        return DeviceListNews(sorted(changed | still), sorted(met - still - changed))

    def _shares_room(self, connection: Reader, user_id: str, other: str) -> bool:
        mine, theirs = self._occupancy.joined_rooms(user_id), self._occupancy.joined_rooms(other)
        if theirs:
            return not mine.isdisjoint(theirs)
        # In no room, or of another server.
        return bool(mine) and storage.share_a_room(connection, user_id, other)

    def _neighbours(self, user_id: str) -> set[str]:
        found = {user_id}
        for room_id in self._occupancy.joined_rooms(user_id):
            found |= self._occupancy.joined_users(room_id)
        return found
