"""Events as they are kept: one row each, the PDU as bytes, and an LRU cache of the parsed ones.

An event never changes but by redaction, which replaces its JSON for good. The cache may therefore hold what is written
but not yet committed: an undone write takes its own events out again. May import core and thingroom_common.
"""

from __future__ import annotations

import sqlite3
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.core.event import Event, load_stored_pdu, redacted_event
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.rooms import room_version

CACHED_EVENTS = 10_000
_COLUMNS = (
    "event_id, room_id, position, rejected, redacted_by, state_group, replaces_state, session, transaction_id, json, "
    "soft_failed, send_out, backfilled"
)


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event and what the server knows about it.

    position: its place in the stream; None for what is not part of it: rejected, soft-failed, outliers. state_group:
    the state after it, which after a rejected event is the one before; None for an outlier. replaces_state: the event
    whose place in the state it took. session, transaction_id: who sent it here, with what id. send_out: whether this
    server sends it to the others in the room. backfilled: it was put into the history later; nobody hears of it.
    """

    event: Event
    position: int | None
    rejected: str | None = None
    redacted_by: str | None = None
    state_group: int | None = None
    replaces_state: str | None = None
    session: str | None = None
    transaction_id: str | None = None
    soft_failed: bool = False
    send_out: bool = False
    backfilled: bool = False

    @property
    def event_id(self) -> str:
        return self.event.event_id

    @property
    def is_outlier(self) -> bool:
        """Whether its place in the graph is not known: it may authorise others and be in a state, no more."""
        return self.state_group is None and self.rejected is None


class EventStore:
    """Reads and writes of the table `events`."""

    def __init__(self, capacity: int = CACHED_EVENTS) -> None:
        self._capacity = capacity
        self._cache: OrderedDict[str, StoredEvent] = OrderedDict()
        self._versions: dict[str, str] = {}

    def get(self, connection: Reader, event_id: str) -> StoredEvent | None:
        """The event, accepted or not; None if it is not stored."""
        stored = self._cache.get(event_id)
        if stored is not None:
            self._cache.move_to_end(event_id)
            return stored
        row = connection.execute(f"SELECT {_COLUMNS} FROM events WHERE event_id = ?", (event_id,)).fetchone()  # noqa: S608 - constant columns
        return None if row is None else self._from_row(connection, row)

    def get_many(self, connection: Reader, event_ids: Iterable[str]) -> dict[str, StoredEvent]:
        """Those of the events that are stored, by id."""
        found: dict[str, StoredEvent] = {}
        missing: list[str] = []
        for event_id in event_ids:
            stored = self._cache.get(event_id)
            if stored is None:
                missing.append(event_id)
            else:
                found[event_id] = stored
        for start in range(0, len(missing), 500):
            some = missing[start : start + 500]
            query = f"SELECT {_COLUMNS} FROM events WHERE event_id IN ({','.join('?' * len(some))})"  # noqa: S608 - placeholders
            for row in connection.execute(query, some):
                stored = self._from_row(connection, row)
                found[stored.event_id] = stored
        return found

    def timeline(
        self, connection: Reader, room_id: str, *, above: int, upto: int, limit: int, backwards: bool
    ) -> list[StoredEvent]:
        """Up to `limit` events of the room's stream at above < position <= upto, newest first if `backwards`."""
        order = "DESC" if backwards else "ASC"
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM events WHERE room_id = ? AND position > ? AND position <= ? "  # noqa: S608 - constants
            f"ORDER BY position {order} LIMIT ?",
            (room_id, above, upto, limit),
        )
        return [self._from_row(connection, row) for row in rows]

    def stream_after(self, connection: Reader, position: int, upto: int, limit: int) -> list[StoredEvent]:
        """Up to `limit` events of all rooms at position < their position <= upto, in order; no backfilled ones."""
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM events WHERE position > ? AND position <= ? AND NOT backfilled "  # noqa: S608 - constants
            "ORDER BY position LIMIT ?",
            (position, upto, limit),
        )
        return [self._from_row(connection, row) for row in rows]

    def insert(self, transaction: Transaction, stored: StoredEvent) -> None:
        """Keep a new event with its edges, an outlier without. Raises sqlite3.IntegrityError if it is there already."""
        event = stored.event
        transaction.execute(
            "INSERT INTO events (event_id, room_id, type, state_key, sender, depth, origin_server_ts, position, "
            "rejected, redacted_by, state_group, replaces_state, session, transaction_id, json, soft_failed, send_out, "
            "backfilled) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.event_id,
                event.room_id,
                event.type,
                event.state_key,
                event.sender,
                event.depth,
                event.origin_server_ts,
                stored.position,
                stored.rejected,
                stored.redacted_by,
                stored.state_group,
                stored.replaces_state,
                stored.session,
                stored.transaction_id,
                encode_json(event.pdu),
                stored.soft_failed,
                stored.send_out,
                stored.backfilled,
            ),
        )
        if stored.state_group is not None:
            _insert_edges(transaction, event)
        self._remember_until_rollback(transaction, stored)

    def promote(self, transaction: Transaction, stored: StoredEvent) -> None:
        """Give an outlier, or a rejected event without a place, its place in the graph: all that is now known of it."""
        event = stored.event
        transaction.execute(
            "UPDATE events SET position = ?, rejected = ?, state_group = ?, replaces_state = ?, json = ?, "
            "soft_failed = ?, send_out = ?, backfilled = ? WHERE event_id = ?",
            (
                stored.position,
                stored.rejected,
                stored.state_group,
                stored.replaces_state,
                encode_json(event.pdu),
                stored.soft_failed,
                stored.send_out,
                stored.backfilled,
                event.event_id,
            ),
        )
        if stored.state_group is not None:
            _insert_edges(transaction, event)
        self._change(transaction, stored)

    def redact(self, transaction: Transaction, stored: StoredEvent, redaction_id: str) -> StoredEvent:
        """Replace the event's JSON by its redacted form, for good. A second redaction changes nothing."""
        if stored.redacted_by is not None:
            return stored
        redacted = replace(stored, event=redacted_event(stored.event), redacted_by=redaction_id)
        transaction.execute(
            "UPDATE events SET json = ?, redacted_by = ? WHERE event_id = ?",
            (encode_json(redacted.event.pdu), redaction_id, stored.event_id),
        )
        self._change(transaction, redacted)
        return redacted

    def forget_room(self, transaction: Transaction, room_id: str) -> None:
        """Take out all events of a room of which nothing but outliers is known: what was said of it was false."""
        for row in transaction.execute("SELECT event_id FROM events WHERE room_id = ?", (room_id,)).fetchall():
            self._forget(row[0])
        transaction.execute("DELETE FROM events WHERE room_id = ?", (room_id,))
        self._versions.pop(room_id, None)

    def note_version(self, room_id: str, version: str) -> None:
        """Remember a room's version before its row is committed."""
        self._versions[room_id] = version

    def forget_version(self, room_id: str) -> None:
        """Its row was not committed."""
        self._versions.pop(room_id, None)

    def _from_row(self, connection: Reader, row: sqlite3.Row) -> StoredEvent:
        cached = self._cache.get(row[0])
        if cached is not None:
            return cached
        version = self._versions.get(row[1])
        if version is None:
            version = room_version(connection, row[1])
            assert version is not None, "an event of a room that is not stored"
            self._versions[row[1]] = version
        stored = StoredEvent(
            load_stored_pdu(row[9], row[0], version),
            row[2],
            row[3],
            row[4],
            row[5],
            row[6],
            row[7],
            row[8],
            bool(row[10]),
            bool(row[11]),
            bool(row[12]),
        )
        self._remember(stored)
        return stored

    def _remember(self, stored: StoredEvent) -> None:
        self._cache[stored.event_id] = stored
        if len(self._cache) > self._capacity:
            self._cache.popitem(last=False)

    def _forget(self, event_id: str) -> None:
        self._cache.pop(event_id, None)

    def _remember_until_rollback(self, transaction: Transaction, stored: StoredEvent) -> None:
        self._remember(stored)
        transaction.after_rollback(lambda: self._forget(stored.event_id))

    def _change(self, transaction: Transaction, stored: StoredEvent) -> None:
        self._remember_until_rollback(transaction, stored)
        # A reader may have loaded the old row again meanwhile.
        transaction.after_commit(lambda: self._remember(stored))


def _insert_edges(transaction: Transaction, event: Event) -> None:
    for previous in event.prev_event_ids:
        transaction.execute("INSERT OR IGNORE INTO event_edges VALUES (?, ?)", (previous, event.event_id))


def event_ids_near_time(connection: Reader, room_id: str, timestamp: int, forwards: bool, limit: int) -> list[str]:
    """The first `limit` events sent at or after `timestamp` (ms), or the last ones at or before it, nearest first."""
    compare, order = (">=", "ASC") if forwards else ("<=", "DESC")
    rows = connection.execute(
        f"SELECT event_id FROM events WHERE room_id = ? AND origin_server_ts {compare} ? AND position IS NOT NULL "  # noqa: S608 - constants
        f"ORDER BY origin_server_ts {order}, position {order} LIMIT ?",
        (room_id, timestamp, limit),
    )
    return [row[0] for row in rows]
