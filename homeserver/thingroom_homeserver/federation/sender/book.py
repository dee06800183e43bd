"""Which servers do not answer, since when, and when each is tried again: exponential back-off that survives a restart.

Answers the `Reachability` port of reachability.py out of memory; what changes is written behind. May import storage,
thingroom_common and the clock. Next: courier.py, which waits by it.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from dataclasses import dataclass, replace

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.storage.destinations import failing_destinations, save_failing, save_recovered

MAX_FAILING = 20_000
"""Servers that were only ever asked something are forgotten beyond that number, longest known first."""
JITTER = 0.2
SOON_MS = 300
"""How long a server that was heard from is given to finish its start."""


@dataclass(frozen=True, slots=True)
class _Failing:
    since_ms: int
    interval_ms: int
    tried_ms: int
    retry_at_ms: int


class DestinationBook:
    """The servers that fail. Must be used on the event loop."""

    def __init__(self, database: Database, clock: Clock, *, initial_seconds: float, max_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._initial_ms = int(initial_seconds * 1000)
        self._max_ms = int(max_seconds * 1000)
        self._failing: OrderedDict[str, _Failing] = OrderedDict()
        self._unsaved: set[str] = set()
        self._saving: asyncio.Task[None] | None = None
        for row in database.read(failing_destinations):
            interval, retry_at = row["retry_interval_ms"], row["retry_at_ts"]
            self._failing[row["server_name"]] = _Failing(
                row["failing_since_ts"], min(interval, self._max_ms), retry_at - interval, retry_at
            )

    def may_try(self, destination: str) -> bool:
        """Whether the server may be asked now."""
        return self.wait_ms(destination) == 0

    def wait_ms(self, destination: str) -> int:
        """How long to wait before the server is tried; 0 for now."""
        failing = self._failing.get(destination)
        if failing is None:
            return 0
        # However the clock was set meanwhile: no wait is longer than the longest.
        return min(max(0, failing.retry_at_ms - self._clock.now_ms()), int(self._max_ms * (1 + JITTER)))

    def is_failing(self, destination: str) -> bool:
        """Whether the last try failed."""
        return destination in self._failing

    @property
    def failing(self) -> int:
        """How many servers fail."""
        return len(self._failing)

    def failed(self, destination: str) -> None:
        """It could not be reached, or answered with a fault of its own. Several failures of one moment count once."""
        now_ms = self._clock.now_ms()
        before = self._failing.get(destination)
        if before is not None and now_ms < before.retry_at_ms:
            return
        interval = self._initial_ms if before is None else min(before.interval_ms * 2, self._max_ms)
        wait = int(interval * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311 - so that not all come at once
        since_ms = now_ms if before is None else before.since_ms
        self._note(destination, _Failing(since_ms, interval, now_ms, now_ms + wait))

    def succeeded(self, destination: str) -> None:
        """It answered."""
        if self._failing.pop(destination, None) is not None:
            self._save_later(destination)

    def heard_from(self, destination: str) -> bool:
        """It made a request, so it is up: try it soon, though not again at once. True if that shortens a wait."""
        failing = self._failing.get(destination)
        if failing is None:
            return False
        soon = max(self._clock.now_ms() + min(SOON_MS, self._initial_ms), failing.tried_ms + self._initial_ms)
        if soon >= failing.retry_at_ms:
            return False
        self._note(destination, replace(failing, retry_at_ms=soon))
        return True

    async def saved(self) -> None:
        """Wait until all of it is on disk."""
        while self._saving is not None:
            await self._saving

    def _note(self, destination: str, failing: _Failing) -> None:
        self._failing[destination] = failing
        if len(self._failing) > MAX_FAILING:
            self._failing.popitem(last=False)
        self._save_later(destination)

    def _save_later(self, destination: str) -> None:
        self._unsaved.add(destination)
        if self._saving is None:
            self._saving = asyncio.create_task(self._save(), name="save back-offs")

    async def _save(self) -> None:
        try:
            while self._unsaved:
                names, self._unsaved = self._unsaved, set()
                state = {name: self._failing.get(name) for name in names}

                def write(transaction: Transaction, state: dict[str, _Failing | None] = state) -> None:
                    for name, failing in state.items():
                        if failing is None:
                            save_recovered(transaction, name)
                        else:
                            save_failing(transaction, name, failing.since_ms, failing.interval_ms, failing.retry_at_ms)

                await self._database.write(write)
        finally:
            self._saving = None
