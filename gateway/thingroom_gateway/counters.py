"""Counts of what happened, by reason: in memory, and now and then on disk.

May import thingroom_common. ingest.py and the links count; control.py shows.
"""

from __future__ import annotations

import sqlite3
from collections import Counter

from thingroom_common.database import Database, Transaction


class Counters:
    """Counts since the first start. What was counted since the last `save` is lost in a crash; readings are not."""

    def __init__(self, values: dict[str, int]) -> None:
        self._values = Counter(values)
        self._changed: set[str] = set()

    @classmethod
    def load(cls, connection: sqlite3.Connection) -> Counters:
        return cls({row[0]: row[1] for row in connection.execute("SELECT name, value FROM counters")})

    def add(self, name: str, number: int = 1) -> None:
        """`name` is one of our own words ("mqtt.rejected.bad_signature"), never text from outside."""
        self._values[name] += number
        self._changed.add(name)

    def __getitem__(self, name: str) -> int:
        return self._values[name]

    def all(self) -> dict[str, int]:
        return dict(sorted(self._values.items()))

    async def save(self, database: Database) -> None:
        """Write what changed. Raises sqlite3.Error; the counts are then kept for the next time."""
        if not self._changed:
            return
        rows = [(name, self._values[name]) for name in self._changed]
        changed, self._changed = self._changed, set()

        def write(transaction: Transaction) -> None:
            transaction.executemany(
                "INSERT INTO counters VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", rows
            )
            transaction.after_rollback(lambda: self._changed.update(changed))

        await database.write(write)
