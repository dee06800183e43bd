"""The content repository: names for files, uploads at once or later, and finding them again.

May import storage, the clock and thingroom_common. Handlers of client_api/media_*.py call it; thumbnails.py reads
through it. Files of other servers come through the `RemoteMedia` port.
Source: client-server API, "Content repository".
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config_media import MediaConfig
from thingroom_homeserver.media.files import REMOTE_SUFFIX, ArrivingFile, MediaFiles
from thingroom_homeserver.media.in_threads import undisturbed
from thingroom_homeserver.media.mxc import Mxc
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused, Reserved, StoredFile, Why
from thingroom_homeserver.storage import media as storage
from thingroom_homeserver.storage.remote_media import is_kept

WRITE_BYTES = 262_144
"""How much of an upload is gathered in memory before a thread writes it."""
HOUR_MS = 3_600_000
SERVER = ""
"""Whose files those are that the server fetched itself."""


class RemoteMedia(Protocol):
    """Files of other servers: remote_files.py."""

    async def find(self, mxc: Mxc, wait_ms: int) -> StoredFile | Refused:
        """Bring the file onto this disk, within about `wait_ms`."""
        ...


class MediaRepository:
    """The files uploaded here, and the way to others'."""

    def __init__(
        self,
        database: Database,
        files: MediaFiles,
        clock: Clock,
        config: MediaConfig,
        server_name: str,
        max_upload_bytes: int,
        remote: RemoteMedia,
    ) -> None:
        self.files = files
        self._database = database
        self._clock = clock
        self._config = config
        self._server_name = server_name
        self._max_upload_bytes = max_upload_bytes
        self._remote = remote
        self._arriving: set[str] = set()
        self._arriving_bytes: Counter[str] = Counter()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}
        self._closed = False

    async def recover(self) -> None:
        """Tidy up what a crash left behind. Once, before the first request."""

        def is_recorded(media_id: str) -> bool:
            if media_id.endswith(REMOTE_SUFFIX):
                return self._database.read(lambda connection: is_kept(connection, media_id))
            row = self._database.read(lambda connection: storage.find_media(connection, media_id))
            return row is not None and row["size"] is not None

        self.files.recover(is_recorded)

    def close(self) -> None:
        """Release whoever waits for an upload."""
        self._closed = True
        for media_id in list(self._waiting):
            self._wake(media_id)

    def uri(self, media_id: str) -> str:
        return str(Mxc(self._server_name, media_id))

    async def reserve(self, user_id: str) -> Reserved | Refused:
        """A new name without content (POST /_matrix/media/v1/create)."""
        now_ms = self._clock.now_ms()
        reserved = Reserved(_new_id(), now_ms + self._config.pending_upload_hours * HOUR_MS)

        def write(transaction: Transaction) -> Reserved | Refused:
            storage.forget_expired(transaction, user_id, now_ms - HOUR_MS)
            if storage.count_pending(transaction, user_id, now_ms) >= self._config.max_pending_uploads:
                return Refused(Why.TOO_MANY_PENDING, "Upload what you announced before announcing more")
            storage.add_pending(transaction, reserved.media_id, user_id, now_ms, reserved.expires_ms)
            return reserved

        refused = self._over_quota(user_id, 0)
        return await self._database.write(write) if refused is None else refused

    async def upload(
        self,
        user_id: str,
        chunks: AsyncIterator[bytes],
        *,
        announced: int | None,
        content_type: str,
        file_name: str | None,
        reserved: Mxc | None = None,
    ) -> StoredFile | Refused:
        """Take in a file of about `announced` bytes, under a new name or the `reserved` one.

        It is on the disk when this returns. What `chunks` raises is raised, and nothing is kept. Raises OSError.
        """
        refused = self._refusal_before(user_id, announced, reserved)
        if refused is not None:
            return refused
        media_id = _new_id() if reserved is None else reserved.media_id
        self._arriving.add(media_id)
        try:
            stored = await self._take_in(media_id, user_id, chunks, content_type, file_name)
        finally:
            self._arriving.discard(media_id)
        self._wake(media_id)
        return stored

    async def find(self, mxc: Mxc, wait_ms: int = 0) -> StoredFile | Refused:
        """The file of that name, waiting up to `wait_ms` for one that is announced but not uploaded."""
        if mxc.server_name != self._server_name:
            return await self._remote.find(mxc, wait_ms)
        deadline = self._clock.monotonic() + wait_ms / 1000
        while True:
            row = self._database.read(lambda connection: storage.find_media(connection, mxc.media_id))
            if row is None or row["quarantined_ts"] is not None:
                return NOT_FOUND
            if row["size"] is not None:
                return StoredFile(mxc.media_id, row["size"], row["sha256"], row["content_type"], row["file_name"])
            if row["expires_ts"] <= self._clock.now_ms() and mxc.media_id not in self._arriving:
                return NOT_FOUND
            left = deadline - self._clock.monotonic()
            if left <= 0 or self._closed or not await self._wait(mxc.media_id, left):
                return Refused(Why.NOT_YET_UPLOADED, "The file has not been uploaded yet")

    async def open(self, media_id: str) -> BinaryIO | Refused:
        """The bytes of a file that `find` found."""
        try:
            return await asyncio.to_thread(self.files.open, media_id)
        except FileNotFoundError:
            return NOT_FOUND

    def _refusal_before(self, user_id: str, announced: int | None, reserved: Mxc | None) -> Refused | None:
        """What can be refused before a byte is read."""
        if reserved is not None:
            row = (
                None
                if reserved.server_name != self._server_name
                else self._database.read(lambda connection: storage.find_media(connection, reserved.media_id))
            )
            if row is None:
                return NOT_FOUND
            if row["user_id"] != user_id:
                return Refused(Why.FORBIDDEN, "Somebody else announced this file")
            if row["size"] is not None or reserved.media_id in self._arriving:
                return Refused(Why.OVERWRITE, "The file has been uploaded already")
            if row["expires_ts"] <= self._clock.now_ms():
                return NOT_FOUND
        if announced is not None and announced > self._max_upload_bytes:
            return self._too_large()
        return self._over_quota(user_id, announced or 0)

    async def _take_in(
        self, media_id: str, user_id: str, chunks: AsyncIterator[bytes], content_type: str, file_name: str | None
    ) -> StoredFile | Refused:
        file = await undisturbed(asyncio.to_thread(self.files.start, media_id))
        try:
            refused = await self._receive(file, user_id, chunks)
            if refused is not None:
                return refused
            stored = StoredFile(media_id, file.size, file.sha256, content_type, file_name)
            kept = await undisturbed(self._keep(file, user_id, stored))
            return stored if kept else Refused(Why.OVERWRITE, "The file has been uploaded already")
        finally:
            self._arriving_bytes[user_id] -= file.size
            if not self._arriving_bytes[user_id]:
                del self._arriving_bytes[user_id]
            if not file.recorded:
                file.discard()

    async def _keep(self, file: ArrivingFile, user_id: str, stored: StoredFile) -> bool:
        """Sync, record, move: in this order, see media/files.py. False if the name has got content meanwhile."""
        await asyncio.to_thread(file.finish)
        file.recorded = await self._database.write(
            lambda transaction: storage.fill(
                transaction,
                stored.media_id,
                user_id,
                self._clock.now_ms(),
                size=stored.size,
                sha256=stored.sha256,
                content_type=stored.content_type,
                file_name=stored.file_name,
            )
        )
        if file.recorded:
            await asyncio.to_thread(self.files.settle, stored.media_id)
        return file.recorded

    async def _receive(self, file: ArrivingFile, user_id: str, chunks: AsyncIterator[bytes]) -> Refused | None:
        """Write the chunks, as long as they stay within the limits."""
        gathered = bytearray()
        async for chunk in chunks:
            gathered += chunk
            if file.size + len(gathered) > self._max_upload_bytes:
                return self._too_large()
            if len(gathered) >= WRITE_BYTES:
                refused = self._over_quota(user_id, len(gathered))
                if refused is not None:
                    return refused
                await self._write(file, user_id, gathered)
                gathered = bytearray()
        refused = self._over_quota(user_id, len(gathered))
        if refused is None:
            await self._write(file, user_id, gathered)
        return refused

    async def _write(self, file: ArrivingFile, user_id: str, data: bytearray) -> None:
        before = file.size
        try:
            await undisturbed(asyncio.to_thread(file.write, data))
        finally:
            self._arriving_bytes[user_id] += file.size - before

    def _over_quota(self, user_id: str, more: int) -> Refused | None:
        """Whether `more` bytes on top of the user's files, and of what is arriving, are too many."""
        usage = self._database.read(lambda connection: storage.usage_of(connection, user_id))
        files, size = self._config.user_quota_files, self._config.user_quota_bytes
        if (size and usage.bytes + self._arriving_bytes[user_id] + more > size) or (files and usage.files >= files):
            return Refused(Why.FORBIDDEN, "You have uploaded as much as you may")
        return None

    def _too_large(self) -> Refused:
        return Refused(Why.TOO_LARGE, f"Files may have at most {self._max_upload_bytes} bytes")

    async def _wait(self, media_id: str, seconds: float) -> bool:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.setdefault(media_id, set())
        waiting.add(future)
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            return False
        finally:
            waiting.discard(future)
            if not waiting and self._waiting.get(media_id) is waiting:
                del self._waiting[media_id]
        return True

    def _wake(self, media_id: str) -> None:
        for future in self._waiting.pop(media_id, ()):
            if not future.done():
                future.set_result(None)


def _new_id() -> str:
    return secrets.token_urlsafe(18)
