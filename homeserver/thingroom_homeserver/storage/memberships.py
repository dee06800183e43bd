"""Who is in which room, and who was when.

`room_members` is the present, one row per user and room; `membership_changes` the history, numbered by stream
position. Both follow the current state of the room. May import thingroom_common only.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

NO_END = 2**62
"""A position after all others."""


@dataclass(frozen=True, slots=True)
class Member:
    """A user's membership in a room. `position`: of the member event."""

    room_id: str
    user_id: str
    membership: str
    event_id: str
    position: int
    forgotten: bool


@dataclass(frozen=True, slots=True)
class MembershipChange:
    """At `position` the user's membership became `membership`. `previous`: what it was before, None if nothing."""

    room_id: str
    user_id: str
    position: int
    event_id: str
    membership: str
    previous: str | None


def set_membership(transaction: Transaction, change: MembershipChange, *, is_local: bool) -> None:
    """Make `change` the present and part of the history. A forgotten room comes back with it."""
    transaction.execute(
        "INSERT INTO room_members VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6, 0) ON CONFLICT (room_id, user_id) DO UPDATE SET "
        "since = CASE WHEN membership = excluded.membership THEN since ELSE excluded.since END, "
        "membership = excluded.membership, event_id = excluded.event_id, position = excluded.position, forgotten = 0",
        (change.room_id, change.user_id, change.membership, change.event_id, change.position, int(is_local)),
    )
    transaction.execute(
        "INSERT INTO membership_changes VALUES (?, ?, ?, ?, ?, ?)",
        (change.user_id, change.position, change.room_id, change.event_id, change.membership, change.previous),
    )


def forget_room(transaction: Transaction, user_id: str, room_id: str) -> None:
    """Hide a left room from the user until the membership changes again."""
    transaction.execute("UPDATE room_members SET forgotten = 1 WHERE room_id = ? AND user_id = ?", (room_id, user_id))


def membership_of(connection: Reader, room_id: str, user_id: str) -> Member | None:
    row = connection.execute(
        "SELECT room_id, user_id, membership, event_id, position, forgotten FROM room_members "
        "WHERE room_id = ? AND user_id = ?",
        (room_id, user_id),
    ).fetchone()
    return None if row is None else _member(row)


def rooms_of_user(connection: Reader, user_id: str, memberships: Iterable[str]) -> list[Member]:
    """The rooms where the user has one of `memberships` now, forgotten ones among them."""
    found = []
    for membership in memberships:
        rows = connection.execute(
            "SELECT room_id, user_id, membership, event_id, position, forgotten FROM room_members "
            "WHERE user_id = ? AND membership = ?",
            (user_id, membership),
        )
        found += [_member(row) for row in rows]
    return found


def member_count(connection: Reader, room_id: str, membership: str) -> int:
    row = connection.execute(
        "SELECT COUNT(*) FROM room_members WHERE room_id = ? AND membership = ?", (room_id, membership)
    ).fetchone()
    return int(row[0])


def first_members(connection: Reader, room_id: str, memberships: tuple[str, str], but: str, limit: int) -> list[str]:
    """The first `limit` users but one with one of two memberships, in the order in which they got it."""
    rows = connection.execute(
        "SELECT user_id FROM (SELECT * FROM (SELECT user_id, since FROM room_members WHERE room_id = ?1 AND "
        "membership = ?2 AND user_id != ?4 ORDER BY since LIMIT ?5) UNION ALL SELECT * FROM (SELECT user_id, since "
        "FROM room_members WHERE room_id = ?1 AND membership = ?3 AND user_id != ?4 ORDER BY since LIMIT ?5)) "
        "ORDER BY since, user_id LIMIT ?5",
        (room_id, memberships[0], memberships[1], but, limit),
    )
    return [row[0] for row in rows]


def changes_of_user(connection: Reader, user_id: str, after: int, upto: int) -> list[MembershipChange]:
    """The user's changes at after < position <= upto, in order."""
    rows = connection.execute(
        "SELECT room_id, user_id, position, event_id, membership, previous FROM membership_changes "
        "WHERE user_id = ? AND position > ? AND position <= ? ORDER BY position",
        (user_id, after, upto),
    )
    return [MembershipChange(*row) for row in rows]


def membership_at(connection: Reader, room_id: str, user_id: str, position: int) -> MembershipChange | None:
    """The user's last change in the room at or before `position`."""
    row = connection.execute(
        "SELECT room_id, user_id, position, event_id, membership, previous FROM membership_changes "
        "WHERE room_id = ? AND user_id = ? AND position <= ? ORDER BY position DESC LIMIT 1",
        (room_id, user_id, position),
    ).fetchone()
    return None if row is None else MembershipChange(*row)


def last_joined_position(connection: Reader, room_id: str, user_id: str) -> int | None:
    """The last position up to which the user was joined: that of the change which ended it. None: never joined.

    A user who is joined now has no end: the answer is then NO_END.
    """
    rows = connection.execute(
        "SELECT position, membership, previous FROM membership_changes WHERE room_id = ? AND user_id = ? "
        "ORDER BY position DESC",
        (room_id, user_id),
    )
    for row in rows:
        if row[1] == "join":
            return NO_END
        if row[2] == "join":
            return int(row[0])
    return None


def was_joined_between(connection: Reader, room_id: str, user_id: str, after: int, upto: int) -> bool:
    """Whether the user was in the room at any time from position `after` to `upto`."""
    before = membership_at(connection, room_id, user_id, after)
    if before is not None and before.membership == "join":
        return True
    row = connection.execute(
        "SELECT 1 FROM membership_changes WHERE room_id = ? AND user_id = ? AND position > ? AND position <= ? "
        "AND membership = 'join' LIMIT 1",
        (room_id, user_id, after, upto),
    ).fetchone()
    return row is not None


def was_server_joined_between(connection: Reader, room_id: str, server_name: str, after: int, upto: int) -> bool:
    """The same for any user of a server."""
    rows = connection.execute(
        "SELECT DISTINCT user_id FROM membership_changes WHERE room_id = ? AND position <= ?", (room_id, upto)
    )
    of_server = [row[0] for row in rows if row[0].partition(":")[2] == server_name]
    return any(was_joined_between(connection, room_id, user_id, after, upto) for user_id in of_server)


def local_joined_members(connection: Reader) -> list[tuple[str, str]]:
    """(room id, user id) of every local user in a room: read once, at the start."""
    rows = connection.execute("SELECT room_id, user_id FROM room_members WHERE membership = 'join' AND is_local = 1")
    return [(row[0], row[1]) for row in rows]


def joined_local_users(connection: Reader, room_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT user_id FROM room_members WHERE room_id = ? AND membership = 'join' AND is_local = 1", (room_id,)
    )
    return [row[0] for row in rows]


def _member(row: sqlite3.Row) -> Member:
    return Member(row[0], row[1], row[2], row[3], row[4], bool(row[5]))
