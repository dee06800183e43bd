"""Looking after the content repository from the command line: usage, quarantine, deleting what is old.

May import storage and thingroom_common. Works beside a running server: SQLite keeps the two writers apart, and the
server looks every file up in the database before it serves it. Called by media_commands.py.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.media.files import MediaFiles
from thingroom_homeserver.media.mxc import Mxc, parse_mxc
from thingroom_homeserver.media.remote_files import delete_remote
from thingroom_homeserver.storage import media as storage
from thingroom_homeserver.storage.media import Usage
from thingroom_homeserver.storage.remote_media import kept_bytes, least_used, quarantine_remote

_AT_ONCE = 200


@dataclass(frozen=True, slots=True)
class Deleted:
    """What was deleted, or would be."""

    files: int
    bytes: int


class Housekeeping:
    """The functions behind `thingroom homeserver admin media`."""

    def __init__(self, database: Database, files: MediaFiles, server_name: str) -> None:
        self._database = database
        self._files = files
        self._server_name = server_name

    def usage(self) -> list[tuple[str, Usage]]:
        """Users with files and what those come to, the largest first; '' is the server (previews' pictures)."""
        return self._database.read(storage.usage_of_all)

    async def quarantine(self, uri: str, quarantined_ts: int | None) -> bool:
        """Stop serving a file, or (with None) serve it again: one of this server's, or any of another's, here or not.

        False if there is no such file, or none in quarantine.
        """
        mxc = parse_mxc(uri)
        if mxc is None:
            return False
        if mxc.server_name != self._server_name:
            server_name, media_id = mxc.server_name, mxc.media_id
            return await self._database.write(lambda t: quarantine_remote(t, server_name, media_id, quarantined_ts))
        return await self._database.write(lambda t: storage.set_quarantined(t, mxc.media_id, quarantined_ts))

    async def quarantine_user(self, user_id: str, quarantined_ts: int | None) -> int:
        """The same for everything that a user uploaded. How many files."""
        return await self._database.write(lambda t: storage.set_quarantined_of_user(t, user_id, quarantined_ts))

    def remote_usage(self) -> Usage:
        """What the files of other servers on this disk come to."""
        return Usage(*self._database.read(kept_bytes))

    async def delete_remote_unused(self, before_ms: int, *, dry_run: bool = False) -> Deleted:
        """Delete the copies of other servers' files that nobody has asked for since `before_ms`."""
        rows = self._database.read(lambda connection: least_used(connection, -1, before_ms))
        if not dry_run:
            for start in range(0, len(rows), _AT_ONCE):
                await delete_remote(self._database, self._files, rows[start : start + _AT_ONCE])
        return Deleted(len(rows), sum(row["size"] for row in rows))

    async def delete_older(
        self, before_ms: int, *, user_id: str | None = None, keep_avatars: bool = True, dry_run: bool = False
    ) -> Deleted:
        """Delete files uploaded before `before_ms`, of one user or of all; avatars in use are kept if asked."""
        kept = self._database.read(storage.avatars_in_use) if keep_avatars else set()
        files = size = 0
        after = (-1, "")
        while rows := self._uploaded_before(before_ms, after):
            after = (rows[-1]["created_ts"], rows[-1]["media_id"])
            chosen = [row for row in rows if user_id in (None, row["user_id"]) and self._uri(row) not in kept]
            files += len(chosen)
            size += sum(row["size"] for row in chosen)
            if not dry_run:
                await self._delete([row["media_id"] for row in chosen])
        return Deleted(files, size)

    def _uploaded_before(self, before_ms: int, after: tuple[int, str]) -> list[sqlite3.Row]:
        return self._database.read(lambda connection: storage.uploaded_before(connection, before_ms, after, _AT_ONCE))

    def _uri(self, row: sqlite3.Row) -> str:
        return str(Mxc(self._server_name, row["media_id"]))

    async def _delete(self, media_ids: list[str]) -> None:
        """Rows first: a crash leaves a file that nobody can ask for, not a row without its file."""

        def write(transaction: Transaction) -> None:
            for media_id in media_ids:
                storage.delete_media(transaction, media_id)

        await self._database.write(write)
        for media_id in media_ids:
            self._files.delete(media_id)
