"""How far a watcher has come: place in the room, what is known of devices, pages that wait. A SQLite file of its own.

It is committed with the data: `commit` is one transaction, which the SQLite sink shares, and in which a file's length
stands, so that whatever is killed, what is in the sink and what is known agree. May import verify and below.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from thingroom_watch.device_state import DeviceState
from thingroom_watch.numbers import Numbers
from thingroom_watch.verify import Known, Verifier

SEEN_EVENTS: Final = 10_000
"""So many event ids are remembered: a server may show an event twice where two of its answers meet."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS watch_place (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS watch_devices (device TEXT PRIMARY KEY, known TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS watch_pages (page INTEGER PRIMARY KEY, events TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS watch_seen (number INTEGER PRIMARY KEY, event_id TEXT NOT NULL UNIQUE);
"""


class Journal:
    """Owned by one watcher at a time: a second one that opens the file fails."""

    def __init__(self, path: Path | None) -> None:
        """None: in memory, for who does not go on later. Raises sqlite3.Error; "database is locked" if it is in use."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
        self.connection = sqlite3.connect(path or ":memory:", isolation_level=None, timeout=1.0)
        self.connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        self.connection.execute("PRAGMA synchronous = FULL")
        self.connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT")

    def close(self) -> None:
        self.connection.close()

    @contextmanager
    def commit(self) -> Iterator[None]:
        """All or nothing of what is written in the block."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def place(self, name: str) -> str:
        """Something that was put, or ""."""
        row = self.connection.execute("SELECT value FROM watch_place WHERE name = ?", (name,)).fetchone()
        return "" if row is None else str(row[0])

    def put(self, **values: str) -> None:
        for pair in values.items():
            self.connection.execute("INSERT OR REPLACE INTO watch_place VALUES (?, ?)", pair)

    def load_devices(self) -> dict[str, Known]:
        found = {}
        for device, text in self.connection.execute("SELECT device, known FROM watch_devices"):
            known = json.loads(text)
            state = known["state"]
            state["key"] = None if state["key"] is None else bytes.fromhex(state["key"])
            received, skipped = Numbers(known["received"]), Numbers(known["skipped"])
            found[device] = Known(DeviceState(**state), received, skipped, known["newest"])
        return found

    def save_devices(self, verifier: Verifier) -> None:
        """Those that changed since the last time."""
        for device in verifier.changed:
            known = verifier.devices[device]
            state = asdict(known.state)
            state["key"] = None if known.state.key is None else known.state.key.hex()
            text = json.dumps(
                {
                    "state": state,
                    "received": list(known.received),
                    "skipped": list(known.skipped),
                    "newest": known.newest,
                }
            )
            self.connection.execute("INSERT OR REPLACE INTO watch_devices VALUES (?, ?)", (device, text))
        verifier.changed.clear()

    def put_page(self, events: list[dict[str, Any]]) -> None:
        """Keep a page of events, newest first, older than all that wait."""
        self.connection.execute("INSERT INTO watch_pages (events) VALUES (?)", (json.dumps(events),))

    def oldest_page(self) -> tuple[int, list[dict[str, Any]]] | None:
        """The oldest page that waits, newest event first."""
        row = self.connection.execute("SELECT page, events FROM watch_pages ORDER BY page DESC LIMIT 1").fetchone()
        return None if row is None else (row[0], json.loads(row[1]))

    def drop_page(self, page: int) -> None:
        self.connection.execute("DELETE FROM watch_pages WHERE page = ?", (page,))

    def is_new(self, event_id: str) -> bool:
        """Whether the event was not seen before; it is from now on."""
        cursor = self.connection.execute("INSERT OR IGNORE INTO watch_seen (event_id) VALUES (?)", (event_id,))
        if cursor.rowcount == 1:
            oldest = (cursor.lastrowid or 0) - SEEN_EVENTS
            self.connection.execute("DELETE FROM watch_seen WHERE number <= ?", (oldest,))
        return cursor.rowcount == 1
