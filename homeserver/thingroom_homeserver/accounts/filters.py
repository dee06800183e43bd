"""Filters that users stored for /sync and /messages.

May import storage and thingroom_common. It is the `Filters` port of rooms/ports.py.
Source: client-server API, "Filtering".
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import msgspec
import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.storage import account_data as storage
from thingroom_homeserver.storage.connection import Reader

MAX_FILTERS = 1000
MAX_FILTER_BYTES = 32_768

Strings = list[str]


class _EventFilter(msgspec.Struct):
    limit: int | None = None
    types: Strings | None = None
    not_types: Strings | None = None
    senders: Strings | None = None
    not_senders: Strings | None = None


class _RoomEventFilter(_EventFilter):
    rooms: Strings | None = None
    not_rooms: Strings | None = None
    contains_url: bool | None = None
    lazy_load_members: bool | None = None
    include_redundant_members: bool | None = None
    unread_thread_notifications: bool | None = None


class _RoomFilter(msgspec.Struct):
    rooms: Strings | None = None
    not_rooms: Strings | None = None
    include_leave: bool | None = None
    ephemeral: _RoomEventFilter | None = None
    state: _RoomEventFilter | None = None
    timeline: _RoomEventFilter | None = None
    account_data: _RoomEventFilter | None = None


class _Filter(msgspec.Struct):
    """The shape of definitions/sync_filter.yaml: known keys have these types, others are let through."""

    event_fields: Strings | None = None
    event_format: Literal["client", "federation"] | None = None
    presence: _EventFilter | None = None
    account_data: _EventFilter | None = None
    room: _RoomFilter | None = None


class Filters:
    """The table of filters."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def filter_of(self, connection: Reader, user_id: str, filter_id: str) -> dict[str, Any] | None:
        """A filter that the user stored earlier."""
        if not (filter_id.isascii() and filter_id.isdigit() and len(filter_id) < 10):
            return None
        definition = storage.read_filter(connection, user_id, int(filter_id))
        return None if definition is None else orjson.loads(definition)

    def read(self, user_id: str, filter_id: str) -> dict[str, Any] | None:
        """`filter_of` on the committed data."""
        return self._database.read(lambda connection: self.filter_of(connection, user_id, filter_id))

    async def add(self, user_id: str, definition: dict[str, Any]) -> str | Refused:
        """Store a filter and return its id; the same one again has the same id."""
        refused = why_unfit(definition)
        if refused is not None:
            return refused
        text = orjson.dumps(definition, option=orjson.OPT_SORT_KEYS).decode()
        digest = hashlib.sha256(text.encode()).digest()

        def write(transaction: Transaction) -> str | Refused:
            if storage.count_filters(transaction, user_id) >= MAX_FILTERS:
                return Refused(Refusal.TOO_LARGE, f"More than {MAX_FILTERS} filters")
            return str(storage.add_filter(transaction, user_id, digest, text))

        return await self._database.write(write)


def why_unfit(definition: dict[str, Any]) -> Refused | None:
    """Why a filter is not taken, or None."""
    try:
        msgspec.convert(definition, _Filter)
    except msgspec.ValidationError as error:
        return Refused(Refusal.BAD_JSON, str(error))
    if len(orjson.dumps(definition)) > MAX_FILTER_BYTES:
        return Refused(Refusal.TOO_LARGE, f"A filter has at most {MAX_FILTER_BYTES} bytes")
    return None
