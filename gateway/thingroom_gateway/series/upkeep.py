"""Keeps the series within their bounds of age and size, in steps so small that nobody waits for them.

May import thingroom_common, config, storage. app.py runs it beside everything else.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Final

from thingroom_common.database import Database
from thingroom_gateway.config import HistoryConfig
from thingroom_gateway.storage import series_upkeep as rows
from thingroom_gateway.storage import stamps
from thingroom_gateway.storage.series import DAY, HOUR, LEVELS, RAW, Level, Recorder

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 60.0
# A step deletes or adds so many rows, and then the others have their turn.
STEP_ROWS: Final = 500
STEP_ENVELOPES: Final = 100
STEP_SERIES: Final = 100
# So long after its end an hour is taken to be complete; what comes later is added when it comes.
MERGE_AFTER_MS: Final = 300_000
PAUSE_SECONDS: Final = 0.05
# However large the database is: so much stays of the raw readings, and of each level.
SPARED: Final = ((RAW, 2 * DAY), (LEVELS[0], 31 * DAY), (LEVELS[1], 366 * DAY))
MEGABYTE: Final = 1_000_000


Due = tuple[Level, int, int]


class Upkeep:
    """Prunes what is too old or too much, brings hours and days along, and fills in what is older than the series."""

    def __init__(self, database: Database, recorder: Recorder, keep: HistoryConfig, now_ms: Callable[[], int]) -> None:
        self._database = database
        self._recorder = recorder
        self.keep = keep
        self._now_ms = now_ms
        self._due: deque[Due] = deque()
        self._warned = False

    async def run(self) -> None:
        """Look every minute until cancelled."""
        while True:
            pause = LOOK_SECONDS
            try:
                if await self.step():
                    pause = PAUSE_SECONDS
            except sqlite3.Error as error:
                logger.error("the history is not looked after: %s", error)
            await asyncio.sleep(pause)

    async def step(self) -> bool:
        """One small piece of work; False if there is none. Raises sqlite3.Error."""
        if not self._due:
            work = self._database.read(rows.next_fill)
            if work is not None:
                await self._database.write(lambda t: rows.fill(t, self._recorder, work, STEP_ENVELOPES))
                return True
            if await self._merge():
                return True
            self._due.extend(await self._database.read_in_thread(self._too_old))
            if not self._due:
                self._due.extend(await self._database.read_in_thread(self._too_much))
            return bool(self._due) or await self._prune_stamps()
        level, series, before = self._due[0]
        deleted = await self._database.write(lambda t: rows.delete_older(t, level, series, before, STEP_ROWS))
        if deleted < STEP_ROWS:
            self._due.popleft()
        return True

    async def _merge(self) -> bool:
        """Hours that are over go into hours and days; before anything is pruned that they are made of."""
        before = self._now_ms() - MERGE_AFTER_MS
        if not self._database.read(lambda connection: rows.is_behind(connection, before - before % HOUR)):
            return False
        await self._database.write(lambda t: self._recorder.merge(t, before, STEP_SERIES, STEP_ROWS))
        return True

    async def _prune_stamps(self) -> bool:
        """What bounds the times of readings goes with them."""
        days = self.keep.readings_days
        if not days:
            return False
        before = self._now_ms() - days * DAY
        if not self._database.read(lambda connection: stamps.are_older(connection, before)):
            return False
        await self._database.write(lambda t: stamps.prune(t, before, STEP_ROWS))
        return True

    def _too_old(self, connection: sqlite3.Connection) -> list[Due]:
        keep, now = self.keep, self._now_ms()
        ages = (keep.readings_days, keep.five_minutes_days, keep.hours_days, keep.days_days)
        return [
            (level, series, now - days * DAY)
            for level, days in zip((RAW, *LEVELS), ages, strict=True)
            if days
            for series in rows.with_older(connection, level, now - days * DAY)
        ]

    def _too_much(self, connection: sqlite3.Connection) -> list[Due]:
        """Over the size: the oldest day of the raw readings goes, or else of the finest level that has one to spare."""
        most, now = self.keep.max_megabytes * MEGABYTE, self._now_ms()
        if not most or rows.database_bytes(connection) <= most:
            self._warned = False
            return []
        for level, spared in SPARED:
            first = rows.oldest(connection, level)
            if first is not None and first < now - spared:
                before = min(first - first % DAY + DAY, now - spared)
                return [(level, series, before) for series in rows.with_older(connection, level, before)]
        if not self._warned:
            self._warned = True
            logger.warning(
                "the database is larger than history.max_megabytes (%d), and no more of the history can be spared",
                self.keep.max_megabytes,
            )
        return []
