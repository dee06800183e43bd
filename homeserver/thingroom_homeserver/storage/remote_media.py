"""SQL of the rows of other servers' files.

May import storage.connection and thingroom_common. Called by media/remote_files.py and media/housekeeping.py.
"""

from __future__ import annotations

import sqlite3

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def find_remote_media(connection: Reader, server_name: str, media_id: str) -> sqlite3.Row | None:
    """All columns of `remote_media`."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT * FROM remote_media WHERE server_name = ? AND media_id = ?", (server_name, media_id)
    ).fetchone()
    return row


def is_kept(connection: Reader, local_id: str) -> bool:
    """Whether a file of that name is recorded."""
    return connection.execute("SELECT 1 FROM remote_media WHERE local_id = ?", (local_id,)).fetchone() is not None


def keep_remote_media(
    transaction: Transaction,
    server_name: str,
    media_id: str,
    now_ms: int,
    *,
    local_id: str,
    size: int,
    sha256: str,
    content_type: str,
    file_name: str | None,
) -> str | None:
    """Record the file's bytes. The `local_id` of others that they replace, or None."""
    before = find_remote_media(transaction, server_name, media_id)
    transaction.execute(
        "INSERT INTO remote_media (server_name, media_id, local_id, size, sha256, content_type, file_name, fetched_ts,"
        " used_ts) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8) ON CONFLICT (server_name, media_id) DO UPDATE SET"
        " local_id = ?3, size = ?4, sha256 = ?5, content_type = ?6, file_name = ?7, fetched_ts = ?8, used_ts = ?8",
        (server_name, media_id, local_id, size, sha256, content_type, file_name, now_ms),
    )
    return None if before is None else before["local_id"]


def note_use(transaction: Transaction, server_name: str, media_id: str, now_ms: int) -> None:
    transaction.execute(
        "UPDATE remote_media SET used_ts = ? WHERE server_name = ? AND media_id = ?", (now_ms, server_name, media_id)
    )


def kept_bytes(connection: Reader) -> tuple[int, int]:
    """How many files of other servers are here, and what they come to in bytes."""
    row = connection.execute(
        "SELECT COUNT(*), COALESCE(SUM(size), 0) FROM remote_media WHERE size IS NOT NULL"
    ).fetchone()
    return int(row[0]), int(row[1])


def least_used(connection: Reader, limit: int, before_ms: int | None = None) -> list[sqlite3.Row]:
    """server_name, media_id, local_id, size of the files that nobody has asked for the longest; used before a time."""
    return connection.execute(
        "SELECT server_name, media_id, local_id, size FROM remote_media WHERE size IS NOT NULL"
        " AND (?2 IS NULL OR used_ts < ?2) ORDER BY used_ts LIMIT ?1",
        (limit, before_ms),
    ).fetchall()


def forget_bytes(transaction: Transaction, server_name: str, media_id: str, local_id: str) -> bool:
    """The bytes go; that the file is quarantined stays known. False if they went before, or are others now."""
    where = (server_name, media_id, local_id)
    kept = transaction.execute(
        "UPDATE remote_media SET local_id = NULL, size = NULL, sha256 = NULL, content_type = NULL, file_name = NULL"
        " WHERE server_name = ? AND media_id = ? AND local_id = ? AND quarantined_ts IS NOT NULL",
        where,
    ).rowcount
    removed = transaction.execute(
        "DELETE FROM remote_media WHERE server_name = ? AND media_id = ? AND local_id = ? AND quarantined_ts IS NULL",
        where,
    ).rowcount
    return bool(kept or removed)


def quarantine_remote(transaction: Transaction, server_name: str, media_id: str, quarantined_ts: int | None) -> bool:
    """Stop showing a file, whether it is here or not; or, with None, show it again. False if that changes nothing."""
    if quarantined_ts is None:
        changed = transaction.execute(
            "UPDATE remote_media SET quarantined_ts = NULL WHERE server_name = ? AND media_id = ?"
            " AND quarantined_ts IS NOT NULL",
            (server_name, media_id),
        ).rowcount
        transaction.execute(
            "DELETE FROM remote_media WHERE server_name = ? AND media_id = ? AND size IS NULL", (server_name, media_id)
        )
        return bool(changed)
    transaction.execute(
        "INSERT INTO remote_media (server_name, media_id, quarantined_ts) VALUES (?1, ?2, ?3)"
        " ON CONFLICT (server_name, media_id) DO UPDATE SET quarantined_ts = ?3",
        (server_name, media_id, quarantined_ts),
    )
    return True
