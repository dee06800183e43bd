"""What an application service is told beside events: receipts, typing, presence, and what its users' devices need.

May import storage, accounts and encryption. Each look covers the stream from where the last one ended, at most a
bounded part of it, and is put into one transaction. Called by delivery.py.
Source: application service API, "Pushing ephemeral data"; MSC4203 (to-device messages) and MSC3202 (device lists and
key counts) under the names that shipped bridges read. See docs/decisions/0019-what-a-bridge-hears-besides-events.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import orjson

from thingroom_homeserver.accounts.appservices import AppService
from thingroom_homeserver.accounts.receipts import READ_PRIVATE, UNTHREADED
from thingroom_homeserver.appservice_api.interest import Interest
from thingroom_homeserver.storage import appservices as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.device_lists import joined_members, users_changed
from thingroom_homeserver.storage.presence import changed_users

RECEIPTS_A_LOOK = 500
MESSAGES_A_LOOK = 100
BYTES_A_LOOK = 1_000_000
ROWS_A_LOOK = 1000
USERS_WITH_COUNTS = 200

TO_DEVICE = "de.sorunome.msc2409.to_device"

JsonObject = dict[str, Any]


class Typing(Protocol):
    @property
    def position(self) -> int: ...

    def changed_since(self, position: int) -> dict[str, list[str]]: ...


class Presence(Protocol):
    def of(self, user_id: str) -> JsonObject: ...


class DeviceKeys(Protocol):
    def one_time_key_counts(self, connection: Reader, user_id: str, device_id: str) -> dict[str, int]: ...

    def unused_fallback_key_types(self, connection: Reader, user_id: str, device_id: str) -> list[str]: ...


@dataclass(slots=True)
class Seen:
    """What a walk along the events passed: rooms of the events that were sent, who came to a room or left one of the
    application service's, and rooms that one of its own users came to."""

    rooms: set[str] = field(default_factory=set)
    met: set[str] = field(default_factory=set)
    entered: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Extras:
    """`position`: up to where the stream was looked at. `fields` go into the transaction beside `events`."""

    position: int
    fields: JsonObject = field(default_factory=dict)


class ExtrasSource:
    """Reads what one application service is told beside events."""

    def __init__(self, appservice: AppService, typing: Typing, presence: Presence, device_keys: DeviceKeys) -> None:
        self._appservice = appservice
        self._typing = typing
        self._presence = presence
        self._device_keys = device_keys
        self._typing_position = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the application service asked for any of it."""
        return self._appservice.receives_ephemeral or self._appservice.receives_encryption

    def look(self, connection: Reader, interest: Interest, seen: Seen, since: int, upto: int) -> Extras:
        """What is new at since < position <= upto; less, if that would be too much for one transaction."""
        if not self.is_wanted or upto <= since:
            return Extras(max(since, upto), self._typing_only(interest))
        appservice = self._appservice
        receipts, upto = _receipts(connection, since, upto) if appservice.receives_ephemeral else ([], upto)
        messages, upto = self._messages(connection, since, upto) if appservice.receives_encryption else ([], upto)
        extras = Extras(upto)
        if appservice.receives_ephemeral:
            ephemeral = self._told_receipts(interest, [row for row in receipts if row["position"] <= upto])
            ephemeral += self._told_typing(interest)
            ephemeral += self._told_presence(connection, interest, since, upto)
            self._add_ephemeral(extras.fields, ephemeral)
        if appservice.receives_encryption:
            if messages:
                extras.fields[TO_DEVICE] = messages
            self._add_device_lists(extras.fields, connection, interest, seen, since, upto)
        return extras

    def key_counts(self, connection: Reader, interest: Interest, seen: Seen, fields: JsonObject) -> JsonObject:
        """How many one-time keys are left to the devices that a transaction concerns, and unused fallback keys."""
        if not self._appservice.receives_encryption:
            return {}
        users = {self._appservice.sender}
        users.update(message["to_user_id"] for message in fields.get(TO_DEVICE, ()))
        users.update(islice((user for room_id in seen.rooms for user in interest.users_in(room_id)), USERS_WITH_COUNTS))
        counts: dict[str, dict[str, dict[str, int]]] = {}
        fallback: dict[str, dict[str, list[str]]] = {}
        for user_id in sorted(users):
            for device_id in storage.devices_with_keys(connection, user_id):
                of_device = self._device_keys.one_time_key_counts(connection, user_id, device_id)
                counts.setdefault(user_id, {})[device_id] = of_device
                unused = self._device_keys.unused_fallback_key_types(connection, user_id, device_id)
                fallback.setdefault(user_id, {})[device_id] = unused
        if not counts:
            return {}
        return {
            # The draft had both spellings, and bridges read one or the other.
            "org.matrix.msc3202.device_one_time_keys_count": counts,
            "org.matrix.msc3202.device_one_time_key_counts": counts,
            "org.matrix.msc3202.device_unused_fallback_key_types": fallback,
        }

    def _typing_only(self, interest: Interest) -> JsonObject:
        fields: JsonObject = {}
        if self._appservice.receives_ephemeral:
            self._add_ephemeral(fields, self._told_typing(interest))
        return fields

    def _add_ephemeral(self, fields: JsonObject, ephemeral: list[JsonObject]) -> None:
        if ephemeral:
            fields["ephemeral"] = ephemeral
            if self._appservice.early_names:
                fields["de.sorunome.msc2409.ephemeral"] = ephemeral

    def _told_receipts(self, interest: Interest, rows: list[Any]) -> list[JsonObject]:
        contents: dict[str, JsonObject] = {}
        for row in rows:
            if not interest.covers_room(row["room_id"]):
                continue
            if row["type"] == READ_PRIVATE and not self._appservice.covers_user(row["user_id"]):
                continue
            receipt: JsonObject = {"ts": row["ts"]}
            if row["thread_id"] != UNTHREADED:
                receipt["thread_id"] = row["thread_id"]
            of_event = contents.setdefault(row["room_id"], {}).setdefault(row["event_id"], {})
            of_user = of_event.setdefault(row["type"], {})
            if row["thread_id"] == UNTHREADED or row["user_id"] not in of_user:
                of_user[row["user_id"]] = receipt
        return [{"type": "m.receipt", "room_id": room_id, "content": contents[room_id]} for room_id in contents]

    def _told_typing(self, interest: Interest) -> list[JsonObject]:
        changed = self._typing.changed_since(self._typing_position)
        self._typing_position = self._typing.position
        return [
            {"type": "m.typing", "room_id": room_id, "content": {"user_ids": users}}
            for room_id, users in changed.items()
            if interest.covers_room(room_id)
        ]

    def _told_presence(self, connection: Reader, interest: Interest, since: int, upto: int) -> list[JsonObject]:
        return [
            {"type": "m.presence", "sender": user_id, "content": self._presence.of(user_id)}
            for user_id in changed_users(connection, since, upto)
            if self._appservice.covers_user(user_id) or _shares_room(connection, interest, user_id)
        ]

    def _messages(self, connection: Reader, since: int, upto: int) -> tuple[list[JsonObject], int]:
        """Messages to its users' devices, and up to where that is all."""
        found: list[JsonObject] = []
        size, position = 0, since
        for passed, row in enumerate(storage.to_device_after(connection, since, upto)):
            is_enough = len(found) >= MESSAGES_A_LOOK or size >= BYTES_A_LOOK or passed >= ROWS_A_LOOK
            # One sending has one position and is not divided.
            if is_enough and row["position"] != position:
                return found, position
            position = row["position"]
            if self._appservice.covers_user(row["user_id"]):
                size += len(row["content"])
                message = {"type": row["type"], "sender": row["sender"], "content": orjson.loads(row["content"])}
                found.append(message | {"to_user_id": row["user_id"], "to_device_id": row["device_id"]})
        return found, upto

    def _add_device_lists(
        self, fields: JsonObject, connection: Reader, interest: Interest, seen: Seen, since: int, upto: int
    ) -> None:
        candidates = set(users_changed(connection, since, upto)) | seen.met
        for room_id in seen.entered:
            candidates.update(joined_members(connection, room_id))
        changed = {
            user_id
            for user_id in candidates
            if self._appservice.covers_user(user_id) or _shares_room(connection, interest, user_id)
        }
        left = seen.met - changed
        if changed or left:
            fields["org.matrix.msc3202.device_lists"] = {"changed": sorted(changed), "left": sorted(left)}


def recipients_in(body: bytes) -> Iterable[tuple[str, str]]:
    """(user id, device id) of the messages to devices in a transaction's body."""
    messages = orjson.loads(body).get(TO_DEVICE, ())
    return {(message["to_user_id"], message["to_device_id"]) for message in messages}


def _receipts(connection: Reader, since: int, upto: int) -> tuple[list[Any], int]:
    """The next receipts in all rooms, and up to where that is all."""
    rows = storage.receipts_after(connection, since, upto, RECEIPTS_A_LOOK)
    return rows, (rows[-1]["position"] if len(rows) == RECEIPTS_A_LOOK else upto)


def _shares_room(connection: Reader, interest: Interest, user_id: str) -> bool:
    return any(interest.covers_room(room_id) for room_id in storage.rooms_joined_by(connection, user_id))
