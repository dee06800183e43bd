"""A user's notifications across rooms: in order after a position (for pushers), or newest first (for the list).

May import rooms and storage. Source: Client-Server API, "Listing Notifications". Next: delivery.py.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from thingroom_homeserver.push.unread import Unread
from thingroom_homeserver.storage import notifications as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import NO_END, membership_of
from thingroom_homeserver.storage.notifications import ALL_THREADS, Mark, Notification

A_READ = 50


def is_read(marks: Mapping[str, Mark], notification: Notification) -> bool:
    """Whether one of the user's marks in the room stands at the notification or beyond."""
    return any(
        marks[thread_id].position >= notification.position
        for thread_id in (ALL_THREADS, notification.thread_id)
        if thread_id in marks
    )


def next_unread(
    connection: Reader, unread: Unread, user_id: str, joined: Collection[str], above: int, upto: int
) -> Notification | None:
    """The user's first unread notification at above < position <= upto."""
    best: Notification | None = None
    for room_id in {*joined, *storage.rooms_with_own(connection, user_id, above)}:
        if unread.last_in(connection, room_id) <= above:
            continue
        below = upto + 1 if best is None else best.position
        found = _first_unread(connection, user_id, room_id, above, below, room_id in joined)
        best = found or best
    return best


def _first_unread(
    connection: Reader, user_id: str, room_id: str, above: int, below: int, is_joined: bool
) -> Notification | None:
    marks = storage.read_marks(connection, user_id, room_id)
    if ALL_THREADS in marks:
        above = max(above, marks[ALL_THREADS].position)
    if not is_joined and not _is_invited(connection, user_id, room_id):
        return None
    while True:
        found = storage.in_room(connection, user_id, room_id, above=above, below=below, limit=A_READ, backwards=False)
        for notification in found:
            if not is_read(marks, notification):
                return notification
        if len(found) < A_READ:
            return None
        above = found[-1].position


def page(
    connection: Reader, user_id: str, joined: Collection[str], below: int, limit: int, *, only_highlights: bool
) -> list[tuple[Notification, bool]]:
    """Up to `limit` notifications before the position `below`, newest first, and whether each is read."""
    found: list[Notification] = []
    for room_id in {*joined, *storage.rooms_with_own(connection, user_id, 0)}:
        member = membership_of(connection, room_id, user_id)
        if member is None or member.membership not in ("join", "invite"):
            continue
        found += storage.in_room(
            connection,
            user_id,
            room_id,
            above=_since(connection, room_id, user_id),
            below=below,
            limit=limit,
            backwards=True,
            only_highlights=only_highlights,
        )
    newest = sorted(found, key=lambda one: one.position, reverse=True)[:limit]
    marks = {room_id: storage.read_marks(connection, user_id, room_id) for room_id in {one.room_id for one in newest}}
    return [(one, is_read(marks[one.room_id], one)) for one in newest]


def newest_position() -> int:
    """A position after every notification."""
    return NO_END


def _is_invited(connection: Reader, user_id: str, room_id: str) -> bool:
    member = membership_of(connection, room_id, user_id)
    return member is not None and member.membership == "invite"


def _since(connection: Reader, room_id: str, user_id: str) -> int:
    """Just before the user's present membership began: what was there before did not notify them."""
    row = connection.execute(
        "SELECT since FROM room_members WHERE room_id = ? AND user_id = ?", (room_id, user_id)
    ).fetchone()
    return 0 if row is None else int(row[0]) - 1
