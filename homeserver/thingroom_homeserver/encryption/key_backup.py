"""Backups of room keys: encrypted by the client, kept by version, each key replaced by a better one only.

May import storage and thingroom_common. Source: client-server API, "Server-side key backups".
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.storage import key_backup as storage
from thingroom_homeserver.storage.connection import Reader

MAX_INTEGER = 2**53 - 1
MAX_NAME_BYTES = 255

JsonObject = dict[str, Any]
RoomKeys = dict[str, dict[str, "BackedUpKey"]]
"""By room id and session id."""


@dataclass(frozen=True, slots=True)
class WrongVersion:
    """Keys go to the current backup only, which is `current_version`."""

    current_version: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What the backup holds after a change."""

    count: int
    etag: str


@dataclass(frozen=True, slots=True)
class BackedUpKey:
    """One session's key. `session_data` is JSON text."""

    is_verified: bool
    first_message_index: int
    forwarded_count: int
    session_data: str

    def is_better_than(self, other: sqlite3.Row) -> bool:
        """Whether this one takes the place of a stored one."""
        if self.is_verified != bool(other["is_verified"]):
            return self.is_verified
        if self.first_message_index != other["first_message_index"]:
            return bool(self.first_message_index < other["first_message_index"])
        return bool(self.forwarded_count < other["forwarded_count"])


def parse_backed_up_key(value: object) -> BackedUpKey | None:
    """An untrusted KeyBackupData object; None if it cannot be one."""
    if not isinstance(value, dict):
        return None
    index, count = value.get("first_message_index"), value.get("forwarded_count")
    is_verified, data = value.get("is_verified"), value.get("session_data")
    if not isinstance(is_verified, bool) or not isinstance(data, dict):
        return None
    for number in (index, count):
        if type(number) is not int or not 0 <= number <= MAX_INTEGER:
            return None
    return BackedUpKey(is_verified, int(index), int(count), orjson.dumps(data).decode())  # type: ignore[arg-type]


class KeyBackups:
    """The tables of backups."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, user_id: str, algorithm: str, auth_data: JsonObject) -> str:
        """The version of a new backup, which is the current one from now on."""
        text = orjson.dumps(auth_data).decode()
        return str(await self._database.write(lambda t: storage.create_backup(t, user_id, algorithm, text)))

    def describe(self, user_id: str, version: str | None = None) -> JsonObject | Refused:
        """A backup's description, by default the current one's."""

        def read(connection: Reader) -> JsonObject | Refused:
            row = storage.current_backup(connection, user_id) if version is None else None
            if version is not None:
                found = _find(connection, user_id, version)
                if isinstance(found, Refused):
                    return found
                row = found
            if row is None:
                return Refused(Refusal.NOT_FOUND, "No current backup version")
            return {
                "algorithm": row["algorithm"],
                "auth_data": orjson.loads(row["auth_data"]),
                "count": row["key_count"],
                "etag": str(row["etag"]),
                "version": str(row["version"]),
            }

        return self._database.read(read)

    async def update(self, user_id: str, version: str, algorithm: str, auth_data: JsonObject) -> Refused | None:
        """Replace the auth data; the algorithm must be the one that the backup has."""
        text = orjson.dumps(auth_data).decode()

        def write(transaction: Transaction) -> Refused | None:
            row = _find(transaction, user_id, version)
            if isinstance(row, Refused):
                return row
            if row["algorithm"] != algorithm:
                return Refused(Refusal.INVALID, "The backup's algorithm cannot be changed")
            storage.set_auth_data(transaction, user_id, row["version"], text)
            return None

        return await self._database.write(write)

    async def delete(self, user_id: str, version: str) -> Refused | None:
        """Delete a backup with its keys; one that was deleted before is no error."""

        def write(transaction: Transaction) -> Refused | None:
            number = _number(version)
            row = None if number is None else storage.find_backup(transaction, user_id, number)
            if row is None:
                return Refused(Refusal.NOT_FOUND, "Unknown backup version")
            if not row["deleted"]:
                storage.mark_deleted(transaction, user_id, row["version"])
            return None

        return await self._database.write(write)

    async def store(self, user_id: str, version: str, keys: RoomKeys) -> Stored | WrongVersion | Refused:
        """Add keys to the current backup, which must be `version`; better keys that are there stay."""

        def write(transaction: Transaction) -> Stored | WrongVersion | Refused:
            row = _find(transaction, user_id, version)
            if isinstance(row, Refused):
                return row
            current = storage.current_backup(transaction, user_id)
            assert current is not None, "a backup was found, so there is a newest one"
            number = row["version"]
            if current["version"] != number:
                return WrongVersion(str(current["version"]))
            added = changed = 0
            for room_id, sessions in keys.items():
                for session_id, key in sessions.items():
                    held = storage.find_key(transaction, user_id, number, room_id, session_id)
                    if held is not None and not key.is_better_than(held):
                        continue
                    values = (key.is_verified, key.first_message_index, key.forwarded_count, key.session_data)
                    storage.set_key(transaction, user_id, number, room_id, session_id, values)
                    changed += 1
                    added += held is None
            if changed:
                storage.count_change(transaction, user_id, number, added)
            return _stored(transaction, user_id, number)

        return await self._database.write(write)

    async def read(
        self, user_id: str, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> dict[str, dict[str, JsonObject]] | Refused:
        """The keys of a backup by room id and session id, of all rooms or one, of all sessions or one."""

        def read(connection: Reader) -> dict[str, dict[str, JsonObject]] | Refused:
            row = _find(connection, user_id, version)
            if isinstance(row, Refused):
                return row
            found: dict[str, dict[str, JsonObject]] = {}
            for key in storage.keys_in(connection, (user_id, row["version"], room_id, session_id)):
                found.setdefault(key["room_id"], {})[key["session_id"]] = _key_json(key)
            return found

        if session_id is not None:
            return self._database.read(read)
        return await self._database.read_in_thread(read)

    async def delete_keys(
        self, user_id: str, version: str, room_id: str | None = None, session_id: str | None = None
    ) -> Stored | Refused:
        """Delete keys of a backup: all, those of a room, or one."""

        def write(transaction: Transaction) -> Stored | Refused:
            row = _find(transaction, user_id, version)
            if isinstance(row, Refused):
                return row
            deleted = storage.delete_keys(transaction, (user_id, row["version"], room_id, session_id))
            if deleted:
                storage.count_change(transaction, user_id, row["version"], -deleted)
            return _stored(transaction, user_id, row["version"])

        return await self._database.write(write)


def _number(version: str) -> int | None:
    return int(version) if version.isascii() and version.isdigit() and len(version) <= 15 else None


def _find(connection: Reader, user_id: str, version: str) -> sqlite3.Row | Refused:
    number = _number(version)
    row = None if number is None else storage.find_backup(connection, user_id, number)
    return Refused(Refusal.NOT_FOUND, "Unknown backup version") if row is None or row["deleted"] else row


def _stored(connection: Reader, user_id: str, version: int) -> Stored:
    row = storage.find_backup(connection, user_id, version)
    assert row is not None, "the backup that was just changed"
    return Stored(row["key_count"], str(row["etag"]))


def _key_json(row: sqlite3.Row) -> JsonObject:
    return {
        "first_message_index": row["first_message_index"],
        "forwarded_count": row["forwarded_count"],
        "is_verified": bool(row["is_verified"]),
        "session_data": orjson.Fragment(row["session_data"]),
    }
