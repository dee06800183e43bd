"""SQL of the content repository's rows.

May import storage.connection. Called by media/repository.py and media/housekeeping.py.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


@dataclass(frozen=True, slots=True)
class Usage:
    """What a user's uploaded files come to."""

    files: int
    bytes: int


def find_media(connection: Reader, media_id: str) -> sqlite3.Row | None:
    """All columns of `media`."""
    row: sqlite3.Row | None = connection.execute("SELECT * FROM media WHERE media_id = ?", (media_id,)).fetchone()
    return row


def add_pending(transaction: Transaction, media_id: str, user_id: str, now_ms: int, expires_ms: int) -> None:
    transaction.execute(
        "INSERT INTO media (media_id, user_id, created_ts, expires_ts) VALUES (?, ?, ?, ?)",
        (media_id, user_id, now_ms, expires_ms),
    )


def count_pending(connection: Reader, user_id: str, now_ms: int) -> int:
    """How many names the user holds that have no content and have not expired."""
    row = connection.execute(
        "SELECT count(*) FROM media WHERE user_id = ? AND size IS NULL AND expires_ts > ?", (user_id, now_ms)
    ).fetchone()
    return int(row[0])


def forget_expired(transaction: Transaction, user_id: str, before_ms: int) -> None:
    """Drop the user's names that expired before `before_ms` without content."""
    transaction.execute("DELETE FROM media WHERE user_id = ? AND size IS NULL AND expires_ts < ?", (user_id, before_ms))


def fill(
    transaction: Transaction,
    media_id: str,
    user_id: str,
    now_ms: int,
    *,
    size: int,
    sha256: str,
    content_type: str,
    file_name: str | None,
) -> bool:
    """Record that the content is there, under a new name or one that waited for it. False if it had content before."""
    changed = transaction.execute(
        "INSERT INTO media (media_id, user_id, created_ts, size, sha256, content_type, file_name)"
        " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
        " ON CONFLICT (media_id) DO UPDATE SET created_ts = ?3, expires_ts = NULL, size = ?4, sha256 = ?5,"
        " content_type = ?6, file_name = ?7 WHERE media.size IS NULL AND media.user_id = ?2",
        (media_id, user_id, now_ms, size, sha256, content_type, file_name),
    ).rowcount
    if changed:
        _count(transaction, user_id, 1, size)
    return bool(changed)


def usage_of(connection: Reader, user_id: str) -> Usage:
    row = connection.execute("SELECT files, bytes FROM media_usage WHERE user_id = ?", (user_id,)).fetchone()
    return Usage(0, 0) if row is None else Usage(row["files"], row["bytes"])


def usage_of_all(connection: Reader) -> list[tuple[str, Usage]]:
    """Each user with files, the largest first."""
    rows = connection.execute("SELECT * FROM media_usage WHERE files > 0 ORDER BY bytes DESC, user_id")
    return [(row["user_id"], Usage(row["files"], row["bytes"])) for row in rows]


def set_quarantined(transaction: Transaction, media_id: str, quarantined_ts: int | None) -> bool:
    """Quarantine (or, with None, release) one file. False if there is no such file."""
    return bool(
        transaction.execute(
            "UPDATE media SET quarantined_ts = ? WHERE media_id = ?", (quarantined_ts, media_id)
        ).rowcount
    )


def set_quarantined_of_user(transaction: Transaction, user_id: str, quarantined_ts: int | None) -> int:
    """Quarantine or release all files of a user. How many there are."""
    return transaction.execute(
        "UPDATE media SET quarantined_ts = ? WHERE user_id = ? AND size IS NOT NULL", (quarantined_ts, user_id)
    ).rowcount


def uploaded_before(connection: Reader, before_ms: int, after_id: tuple[int, str], limit: int) -> list[sqlite3.Row]:
    """media_id, user_id, created_ts, size of files uploaded before `before_ms`, oldest first, after (ts, id)."""
    return connection.execute(
        "SELECT media_id, user_id, created_ts, size FROM media"
        " WHERE size IS NOT NULL AND created_ts < ? AND (created_ts, media_id) > (?, ?)"
        " ORDER BY created_ts, media_id LIMIT ?",
        (before_ms, *after_id, limit),
    ).fetchall()


def delete_media(transaction: Transaction, media_id: str) -> None:
    """Drop the row and take it off its user's account."""
    row = find_media(transaction, media_id)
    if row is None:
        return
    transaction.execute("DELETE FROM media WHERE media_id = ?", (media_id,))
    if row["size"] is not None:
        _count(transaction, row["user_id"], -1, -row["size"])


def avatars_in_use(connection: Reader) -> set[str]:
    """The URIs that profiles and rooms show now."""
    profiles = connection.execute("SELECT json_extract(value, '$') FROM profiles WHERE field = 'avatar_url'")
    rooms = connection.execute(
        "SELECT json_extract(CAST(events.json AS TEXT), '$.content.url') FROM current_state"
        " JOIN events ON events.event_id = current_state.event_id WHERE current_state.type = 'm.room.avatar'"
    )
    return {row[0] for rows in (profiles, rooms) for row in rows if isinstance(row[0], str)}


def _count(transaction: Transaction, user_id: str, files: int, size: int) -> None:
    transaction.execute(
        "INSERT INTO media_usage VALUES (?1, ?2, ?3)"
        " ON CONFLICT (user_id) DO UPDATE SET files = files + ?2, bytes = bytes + ?3",
        (user_id, files, size),
    )
