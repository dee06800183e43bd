"""Who is in which room, and who was when.

`room_members` is the present, one row per user and room; `membership_changes` the history, numbered by stream
position. Both follow the current state of the room, as do the servers in it (room_servers.py).
May import thingroom_common and storage.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.out_of_band import drop_out_of_band
from thingroom_homeserver.storage.room_servers import enter_at_once, note_membership

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
    before = transaction.execute(
        "SELECT membership FROM room_members WHERE room_id = ? AND user_id = ?", (change.room_id, change.user_id)
    ).fetchone()
    held = None if before is None else before[0]
    note_membership(transaction, change.room_id, change.user_id, held, change.membership, change.position, is_local)
    if is_local and held in ("invite", "knock"):
        drop_out_of_band(transaction, change.room_id, change.user_id)
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


def remove_membership(transaction: Transaction, change: MembershipChange, *, is_local: bool) -> None:
    """The user's entry is taken out of the room's state; for the history, and for a local user, they left."""
    assert change.previous is not None
    if is_local:  # who has to be told that they are out
        set_membership(transaction, change, is_local=True)
        return
    note_membership(
        transaction, change.room_id, change.user_id, change.previous, change.membership, change.position, is_local
    )
    transaction.execute("DELETE FROM room_members WHERE room_id = ? AND user_id = ?", (change.room_id, change.user_id))
    transaction.execute(
        "INSERT INTO membership_changes VALUES (?, ?, ?, ?, ?, ?)",
        (change.user_id, change.position, change.room_id, change.event_id, change.membership, change.previous),
    )


def add_remote_members(transaction: Transaction, room_id: str, members: Mapping[str, str], own_name: str) -> None:
    """Take those of `members` (event id by user id) who are of other servers as they are when this one comes in.

    They are in the order of their events' depth. No change is noted: who comes into a room finds them there.
    """
    transaction.execute(
        "INSERT OR REPLACE INTO room_members SELECT ?1, m.key, "
        "COALESCE(CAST(e.json AS TEXT) ->> '$.content.membership', 'leave'), e.event_id, 0, e.depth, 0, 0 "
        "FROM json_each(?2) m CROSS JOIN events e ON e.event_id = m.value "
        "WHERE substr(m.key, instr(m.key, ':') + 1) != ?3",
        (room_id, orjson.dumps(members).decode(), own_name),
    )


def enter_with_servers(transaction: Transaction, room_id: str, position: int) -> None:
    """The servers of the remote members are in the room from `position` on: those of its current state alone."""
    # An import that was given up may have left others.
    transaction.execute(
        "DELETE FROM room_members WHERE room_id = ?1 AND is_local = 0 AND user_id NOT IN "
        "(SELECT state_key FROM current_state WHERE room_id = ?1 AND type = 'm.room.member')",
        (room_id,),
    )
    rows = transaction.execute(
        "SELECT substr(user_id, instr(user_id, ':') + 1) AS server, COUNT(*) FROM room_members "
        "WHERE room_id = ? AND membership = 'join' AND is_local = 0 GROUP BY server",
        (room_id,),
    ).fetchall()
    enter_at_once(transaction, room_id, {row[0]: row[1] for row in rows}, position)


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


def newest_join(connection: Reader, user_id: str) -> str | None:
    """The event id of the newest member event of the user in a room they are joined to."""
    row = connection.execute(
        "SELECT event_id FROM room_members WHERE user_id = ? AND membership = 'join' ORDER BY position DESC LIMIT 1",
        (user_id,),
    ).fetchone()
    return None if row is None else row[0]


def joined_remote_users(connection: Reader, room_id: str) -> list[str]:
    """The users of other servers who are in the room."""
    rows = connection.execute(
        "SELECT user_id FROM room_members WHERE room_id = ? AND membership = 'join' AND is_local = 0", (room_id,)
    )
    return [row[0] for row in rows]


def joined_local_users(connection: Reader, room_id: str) -> list[str]:
    rows = connection.execute(
        "SELECT user_id FROM room_members WHERE room_id = ? AND membership = 'join' AND is_local = 1", (room_id,)
    )
    return [row[0] for row in rows]


def has_joined_member(connection: Reader, room_id: str, *, local: bool) -> bool:
    """Whether anybody of this server, or of any other one, is joined to the room."""
    row = connection.execute(
        "SELECT 1 FROM room_members WHERE room_id = ? AND membership = 'join' AND is_local = ? LIMIT 1",
        (room_id, int(local)),
    ).fetchone()
    return row is not None


def _member(row: sqlite3.Row) -> Member:
    return Member(row[0], row[1], row[2], row[3], row[4], bool(row[5]))
