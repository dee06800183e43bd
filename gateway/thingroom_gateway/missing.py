"""How much is missing, of all devices together: for metrics, without a look at every ledger.

May import storage.missing. ingest.py says whose ledger changed; whoever asks for the totals has those looked at again.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable

from thingroom_common.database import Database
from thingroom_gateway.ledger import Kind
from thingroom_gateway.storage.missing import gaps_of, with_holes

KINDS: tuple[Kind, ...] = ("lost", "skipped", "buffered", "refused", "unknown")


class GapTotals:
    """Counts of missing numbers by kind."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changed: set[int] | None = None
        self._of: dict[int, Counter[Kind]] = {}

    def changed(self, devices: Iterable[int]) -> None:
        """Something came of these devices (row ids), or they said what they hold."""
        if self._changed is not None:
            self._changed.update(devices)

    async def totals(self) -> dict[Kind, int]:
        """How many numbers are missing, by kind; every kind is there."""
        changed, self._changed = self._changed, set()

        def look(connection: sqlite3.Connection) -> dict[int, Counter[Kind]]:
            return {device: _count(connection, device) for device in with_holes(connection, changed)}

        found = await self._database.read_in_thread(look)
        if changed is None:
            self._of = found
        else:
            for device in changed:
                self._of.pop(device, None)
            self._of.update(found)
        total = sum(self._of.values(), Counter[Kind]())
        return {kind: total[kind] for kind in KINDS}


def _count(connection: sqlite3.Connection, device: int) -> Counter[Kind]:
    counted: Counter[Kind] = Counter()
    for gap in gaps_of(connection, device):
        counted[gap.kind] += gap.count
    return counted
