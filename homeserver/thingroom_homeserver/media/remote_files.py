"""Files of other servers: brought onto this disk when somebody asks, once for all who ask, and kept for a while.

May import storage, the clock and thingroom_common. It is the `RemoteMedia` port of repository.py; the bytes come
through the port `Fetcher` (federation/remote_media.py). Those that nobody has asked for the longest go first.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import sqlite3
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.media.files import REMOTE_SUFFIX, ArrivingFile, MediaFiles
from thingroom_homeserver.media.in_threads import undisturbed
from thingroom_homeserver.media.mxc import Mxc
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused, StoredFile, Why
from thingroom_homeserver.storage import remote_media as storage

logger = logging.getLogger(__name__)

AT_ONCE_FROM_ONE = 4
"""Files that are fetched from one server at a time."""
MAX_WAITING_FOR_ONE = 50
"""Files of one server that are fetched or wait for that."""
GRACE_SECONDS = 30.0
"""For a file to come, on top of what a client gives the uploader. It goes on coming when the client is told to wait."""
ABSENT_SECONDS = 60.0
MAX_ABSENT = 1000
USED_AGAIN_MS = 3_600_000
"""How old the note of the last use may be."""
TIDY_SECONDS, TIDY_PAUSE_SECONDS = 3600.0, 60.0
AT_ONCE = 100
DAY_MS = 86_400_000
WRITE_BYTES = 262_144

Take = Callable[[bytes], Awaitable[bool]]
"""Takes the next bytes of a file. False: that is enough."""


@dataclass(frozen=True, slots=True)
class RemoteHead:
    """What the other server says of the file, checked."""

    content_type: str
    file_name: str | None


class Fetcher(Protocol):
    async def fetch(self, mxc: Mxc, wait_ms: int, take: Take) -> RemoteHead | Refused:
        """Hand the file's bytes to `take`. The other server may wait `wait_ms` for one that is not uploaded yet."""
        ...


class RemoteFiles:
    """The files of other servers, on this disk or to be had."""

    def __init__(
        self, database: Database, files: MediaFiles, clock: Clock, config: MediaConfig, fetcher: Fetcher
    ) -> None:
        self._database = database
        self._files = files
        self._clock = clock
        self._config = config
        self._fetcher = fetcher
        self._fetching: dict[Mxc, asyncio.Task[StoredFile | Refused]] = {}
        self._by_server: dict[str, _Turns] = {}
        self._absent: OrderedDict[Mxc, float] = OrderedDict()
        self._crowded = asyncio.Event()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep within the limits, as long as the block runs; then give up what is being fetched."""
        tidying = asyncio.create_task(self._tidy_now_and_then(), name="tidy up other servers' files")
        try:
            yield
        finally:
            tasks = [tidying, *self._fetching.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def find(self, mxc: Mxc, wait_ms: int) -> StoredFile | Refused:
        """The file, fetched if it is not here."""
        kept = await self._kept(mxc)
        if kept is not None:
            return kept
        absent_until = self._absent.get(mxc)
        if absent_until is not None and self._clock.monotonic() < absent_until:
            return NOT_FOUND
        deadline = self._clock.monotonic() + wait_ms / 1000
        while (task := self._fetching.get(mxc)) is not None:
            found = await self._result(task, wait_ms)
            left_ms = int((deadline - self._clock.monotonic()) * 1000)
            if left_ms <= 0 or not (isinstance(found, Refused) and found.why is Why.NOT_YET_UPLOADED):
                return found
            wait_ms = left_ms  # who asked first had less patience
        turns = self._by_server.setdefault(mxc.server_name, _Turns())
        if turns.count >= MAX_WAITING_FOR_ONE:
            return Refused(Why.BUSY, "Too many files of that server are being fetched")
        turns.count += 1
        task = asyncio.create_task(self._fetch(mxc, wait_ms, turns), name="fetch a file of another server")
        self._fetching[mxc] = task
        task.add_done_callback(lambda _: self._fetched(mxc))
        return await self._result(task, wait_ms)

    async def _result(self, task: asyncio.Task[StoredFile | Refused], wait_ms: int) -> StoredFile | Refused:
        done, _ = await asyncio.wait([task], timeout=wait_ms / 1000 + GRACE_SECONDS)
        if not done:
            return Refused(Why.NOT_YET_UPLOADED, "The file has not arrived yet")
        return Refused(Why.UNREACHABLE, "This server is stopping") if task.cancelled() else task.result()

    async def tidy(self) -> int:
        """Delete what is too much, or was not asked for in too long. How many files."""
        deleted = 0
        days, most = self._config.remote_keep_days, self._config.remote_cache_bytes
        before_ms = self._clock.now_ms() - days * DAY_MS
        while days:
            old = self._database.read(lambda connection: storage.least_used(connection, AT_ONCE, before_ms))
            if not old:
                break
            deleted += await delete_remote(self._database, self._files, old)
        _, total = self._database.read(storage.kept_bytes)
        while most and total > most:
            rows = []
            for row in self._database.read(lambda connection: storage.least_used(connection, AT_ONCE)):
                if total <= most:
                    break
                rows.append(row)
                total -= row["size"]
            if not rows:
                break
            deleted += await delete_remote(self._database, self._files, rows)
        return deleted

    async def _kept(self, mxc: Mxc) -> StoredFile | Refused | None:
        """The file if it is on this disk; None if it is to be fetched."""
        row = self._database.read(lambda c: storage.find_remote_media(c, mxc.server_name, mxc.media_id))
        if row is None:
            return None
        if row["quarantined_ts"] is not None:
            return NOT_FOUND
        local_id, now_ms = row["local_id"], self._clock.now_ms()
        if local_id is None or not await asyncio.to_thread(lambda: self._files.path_of(local_id).exists()):
            return None
        if now_ms - row["used_ts"] > USED_AGAIN_MS:
            await self._database.write(lambda t: storage.note_use(t, mxc.server_name, mxc.media_id, now_ms))
        return StoredFile(local_id, row["size"], row["sha256"], row["content_type"], row["file_name"])

    def _fetched(self, mxc: Mxc) -> None:
        del self._fetching[mxc]
        turns = self._by_server[mxc.server_name]
        turns.count -= 1
        if not turns.count:
            del self._by_server[mxc.server_name]

    async def _fetch(self, mxc: Mxc, wait_ms: int, turns: _Turns) -> StoredFile | Refused:
        async with turns.slots:
            local_id = secrets.token_urlsafe(18) + REMOTE_SUFFIX
            file = await asyncio.to_thread(self._files.start, local_id)
            try:
                return await self._fill(mxc, wait_ms, local_id, file)
            finally:
                if not file.recorded:
                    file.discard()

    async def _fill(self, mxc: Mxc, wait_ms: int, local_id: str, file: ArrivingFile) -> StoredFile | Refused:
        arriving = _Arriving(file, self._config.remote_max_bytes)
        head = await self._fetcher.fetch(mxc, wait_ms, arriving.take)
        if isinstance(head, Refused):
            if head.why is Why.NOT_FOUND:
                self._note_absent(mxc)
            return head
        await arriving.finish()
        stored = StoredFile(local_id, file.size, file.sha256, head.content_type, head.file_name)
        # A cancellation in between must not separate the row from its file.
        replaced = await asyncio.shield(asyncio.create_task(self._record(mxc, stored, file)))
        if replaced is not None:
            await asyncio.to_thread(self._files.delete, replaced)
        self._crowded.set()
        row = self._database.read(lambda c: storage.find_remote_media(c, mxc.server_name, mxc.media_id))
        return NOT_FOUND if row is None or row["quarantined_ts"] is not None else stored

    async def _record(self, mxc: Mxc, stored: StoredFile, file: ArrivingFile) -> str | None:
        def write(transaction: Transaction) -> str | None:
            return storage.keep_remote_media(
                transaction,
                mxc.server_name,
                mxc.media_id,
                self._clock.now_ms(),
                local_id=stored.media_id,
                size=stored.size,
                sha256=stored.sha256,
                content_type=stored.content_type,
                file_name=stored.file_name,
            )

        file.recorded = True
        try:
            replaced = await self._database.write(write)
        except BaseException:
            file.recorded = False
            raise
        await asyncio.to_thread(self._files.settle, stored.media_id)
        return replaced

    def _note_absent(self, mxc: Mxc) -> None:
        self._absent[mxc] = self._clock.monotonic() + ABSENT_SECONDS
        self._absent.move_to_end(mxc)
        if len(self._absent) > MAX_ABSENT:
            self._absent.popitem(last=False)

    async def _tidy_now_and_then(self) -> None:
        while True:
            self._crowded.clear()
            try:
                await self.tidy()
            except OSError as error:
                logger.error("old files of other servers cannot be deleted: %s", error)
            await asyncio.sleep(TIDY_PAUSE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._crowded.wait(), TIDY_SECONDS)


class _Turns:
    """How many files of one server are wanted, and who of them may come now."""

    def __init__(self) -> None:
        self.count = 0
        self.slots = asyncio.Semaphore(AT_ONCE_FROM_ONE)


class _Arriving:
    """Gathers the pieces of one file, writes them in threads, and says when it is too much."""

    def __init__(self, file: ArrivingFile, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self._gathered = bytearray()

    async def take(self, data: bytes) -> bool:
        self._gathered += data
        if self._file.size + len(self._gathered) > self._max_bytes:
            return False
        if len(self._gathered) >= WRITE_BYTES:
            await self._write()
        return True

    async def finish(self) -> None:
        """All of it is on the disk."""
        await self._write()
        await undisturbed(asyncio.to_thread(self._file.finish))

    async def _write(self) -> None:
        data, self._gathered = self._gathered, bytearray()
        if data:
            await undisturbed(asyncio.to_thread(self._file.write, data))


async def delete_remote(database: Database, files: MediaFiles, rows: Sequence[sqlite3.Row]) -> int:
    """Delete the bytes of rows as `storage.least_used` gives them; how many were there. Rows first, as ever."""

    def write(transaction: Transaction) -> list[str]:
        return [
            row["local_id"]
            for row in rows
            if storage.forget_bytes(transaction, row["server_name"], row["media_id"], row["local_id"])
        ]

    local_ids = await database.write(write)
    for local_id in local_ids:
        await asyncio.to_thread(files.delete, local_id)
    return len(local_ids)
