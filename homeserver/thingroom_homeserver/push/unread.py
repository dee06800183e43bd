"""How many notifications a user has not read, by room and thread; and the marks that clear them.

Counts are kept in memory and carried on from where they were counted last, so that a room that nobody reads does not
cost more with every message. May import storage. It is the `Unread` port of rooms/ports.py.
Source: Client-Server API, "Receiving notifications", "Threaded read receipts". Next: recording.py.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.storage import notifications as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.notifications import ALL_THREADS

CACHED_COUNTS = 50_000

Counts = Mapping[str, tuple[int, int]]
"""(notifications, highlights) by thread id, `main` among them; threads with nothing unread are left out."""


@dataclass(frozen=True, slots=True)
class _Counted:
    upto: int
    counts: Counts


class Unread:
    """Unread counts of local users."""

    def __init__(self) -> None:
        self._counted: OrderedDict[tuple[str, str], _Counted] = OrderedDict()
        self._last: dict[str, int] = {}

    def counts(self, connection: Reader, user_id: str, room_id: str, upto: int) -> Counts:
        """What the user has not read of a room they are joined to, at or before the position `upto`."""
        key = (user_id, room_id)
        known = self._counted.get(key)
        if known is not None and known.upto <= upto:
            if self.last_in(connection, room_id) <= known.upto:
                return known.counts
            counts = {**known.counts}
            for thread_id, more in storage.count_by_thread(connection, user_id, room_id, known.upto, upto).items():
                before = counts.get(thread_id, (0, 0))
                counts[thread_id] = (before[0] + more[0], before[1] + more[1])
        else:
            counts = _count(connection, user_id, room_id, upto)
        if known is None or known.upto <= upto:
            self._counted[key] = _Counted(upto, counts)
            self._counted.move_to_end(key)
            if len(self._counted) > CACHED_COUNTS:
                self._counted.popitem(last=False)
        return counts

    def badge(self, connection: Reader, user_id: str, room_ids: Iterable[str], upto: int) -> int:
        """All that the user has not read in those rooms."""
        return sum(
            notifications
            for room_id in room_ids
            for notifications, _ in self.counts(connection, user_id, room_id, upto).values()
        )

    def last_in(self, connection: Reader, room_id: str) -> int:
        """No notification in the room is newer than this position."""
        last = self._last.get(room_id)
        if last is None:
            last = storage.last_position(connection, room_id)
            self._last[room_id] = last
        return last

    def note(self, room_id: str, position: int) -> None:
        """A row is written (it need not be committed yet)."""
        self._last[room_id] = position

    def read_up_to(self, transaction: Transaction, user_id: str, room_id: str, thread_id: str, position: int) -> None:
        """The user has read a thread (ALL_THREADS: the whole room) up to the event at `position`."""
        storage.mark_read(transaction, user_id, room_id, thread_id, position)
        transaction.after_commit(lambda: self._forget(user_id, room_id))

    def drop_event(self, transaction: Transaction, room_id: str, position: int) -> None:
        """An event was redacted: it counts for nobody."""
        storage.drop_event(transaction, room_id, position)
        transaction.after_commit(self._counted.clear)

    def summarise(
        self, transaction: Transaction, room_id: str, user_ids: Iterable[str], older_than_ms: int, keep: int
    ) -> bool:
        """Turn the room's rows that are old or too many into counts of `user_ids`. False if there were none."""
        position = storage.position_to_drop(transaction, room_id, older_than_ms, keep)
        if position == 0:
            return False
        for user_id in user_ids:
            floor = storage.read_marks(transaction, user_id, room_id).get(ALL_THREADS)
            for thread_id, counted in _count(transaction, user_id, room_id, position).items():
                if floor is None or floor.position < position:
                    storage.carry(transaction, user_id, room_id, thread_id, position, counted)
        storage.drop_upto(transaction, room_id, position)
        transaction.after_commit(self._counted.clear)
        return True

    def _forget(self, user_id: str, room_id: str) -> None:
        self._counted.pop((user_id, room_id), None)


def _count(connection: Reader, user_id: str, room_id: str, upto: int) -> dict[str, tuple[int, int]]:
    marks = storage.read_marks(connection, user_id, room_id)
    floor = marks[ALL_THREADS].position if ALL_THREADS in marks else 0
    counts = storage.count_by_thread(connection, user_id, room_id, floor, upto)
    for thread_id, mark in marks.items():
        if mark.notifications:
            before = counts.get(thread_id, (0, 0))
            counts[thread_id] = (before[0] + mark.notifications, before[1] + mark.highlights)
    return counts
