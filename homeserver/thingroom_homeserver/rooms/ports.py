"""What rooms and sync need from the rest of the homeserver, as Protocols; the composition root supplies them.

Reads take the connection they run on (the reader's, or a transaction inside a write), so that a write function sees
its own changes. May import storage.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Profile:
    """What a member event says of its user."""

    displayname: str | None = None
    avatar_url: str | None = None


class Clock(Protocol):
    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        ...


class Profiles(Protocol):
    def profile_of(self, connection: Reader, user_id: str) -> Profile:
        """The profile of a local user; an empty Profile for anyone else."""
        ...


class Aliases(Protocol):
    def room_of_alias(self, connection: Reader, alias: str) -> str | None:
        """The room that a local alias points to."""
        ...

    def claim_alias(self, transaction: Transaction, alias: str, room_id: str, creator: str) -> bool:
        """Point `alias` to the room; False if it is taken."""
        ...

    def move_aliases(self, transaction: Transaction, room_id: str, new_room_id: str) -> None:
        """Point all aliases of a room to another one."""
        ...


class AccountData(Protocol):
    def global_since(self, connection: Reader, user_id: str, since: int, upto: int) -> list[JsonObject]:
        """`{type, content}` of the user's global account data set at since < position <= upto; since 0: all."""
        ...

    def rooms_since(self, connection: Reader, user_id: str, since: int, upto: int) -> Mapping[str, list[JsonObject]]:
        """The same for data of single rooms (tags among it), by room id."""
        ...


class Receipts(Protocol):
    def since(
        self, connection: Reader, user_id: str, room_ids: Collection[str], since: int, upto: int
    ) -> Mapping[str, JsonObject]:
        """By room id, the content of an m.receipt event with the receipts set at since < position <= upto.

        Private receipts of other users than `user_id` are left out.
        """
        ...


class Typing(Protocol):
    @property
    def position(self) -> int:
        """Grows with each change; starts at the wall clock in ms, so it never goes back over restarts."""
        ...

    def changed_since(self, position: int) -> Mapping[str, list[str]]:
        """Who is typing, in the rooms where that changed after `position`; 0: all rooms where someone types."""
        ...


class Unread(Protocol):
    def counts(self, connection: Reader, user_id: str, room_id: str, upto: int) -> Mapping[str, tuple[int, int]]:
        """(notifications, highlights) that the user has not read at or before `upto`, by thread id or `main`."""


class Presence(Protocol):
    def since(
        self, connection: Reader, user_id: str, since: int | None, upto: int, new_rooms: Collection[str]
    ) -> list[JsonObject]:
        """m.presence events of users who share a room: changed at since < position <= upto; None: who is there now.

        Besides those who are in `new_rooms`, which the user has just joined.
        """
        ...


class DeviceKeys(Protocol):
    def one_time_key_counts(self, connection: Reader, user_id: str, device_id: str) -> Mapping[str, int]:
        """By algorithm, how many one-time keys of the device are left."""
        ...

    def unused_fallback_key_types(self, connection: Reader, user_id: str, device_id: str) -> list[str]:
        """Algorithms for which a fallback key is there and unused."""
        ...


class ToDevice(Protocol):
    def waiting(
        self, connection: Reader, user_id: str, device_id: str, after: int, upto: int, limit: int | None = None
    ) -> tuple[list[JsonObject], int]:
        """The next messages to the device at after < position <= upto, and the position up to which that is all.

        Not more than `limit`, where one is given.
        """
        ...

    async def acknowledge(self, user_id: str, device_id: str, upto: int) -> None:
        """The device has what was sent at position <= upto."""
        ...


class DeviceListNews(Protocol):
    @property
    def changed(self) -> list[str]: ...

    @property
    def left(self) -> list[str]: ...


class DeviceLists(Protocol):
    def news(self, connection: Reader, user_id: str, since: int, upto: int) -> DeviceListNews:
        """Whose keys changed for `user_id` at since < position <= upto, and with whom no room is shared any more."""
        ...
