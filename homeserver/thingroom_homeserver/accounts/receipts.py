"""How far users have read: receipts, which others see, and the fully-read marker, which is account data.

May import storage, the notifier and thingroom_common. It is the `Receipts` port of rooms/ports.py.
Source: client-server API, "Receipts" and "Read and unread markers".
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.account_data import AccountData
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage import receipts as storage
from thingroom_homeserver.storage.account_data import read_data
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import next_position

READ = "m.read"
READ_PRIVATE = "m.read.private"
FULLY_READ = "m.fully_read"
UNTHREADED = ""

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RemoteReceipt:
    """A public receipt of a user of another server. `ts`: when that was, in ms. thread_id: "" for none."""

    room_id: str
    user_id: str
    thread_id: str
    event_id: str
    ts: int


ReadUpTo = Callable[[Transaction, str, str, str, int], None]


class Receipts:
    """The table of receipts."""

    def __init__(
        self, database: Database, notifier: Notifier, account_data: AccountData, clock: Clock, read_up_to: ReadUpTo
    ) -> None:
        """`read_up_to` is told of each mark that moves: (transaction, user, room, thread, position)."""
        self._database = database
        self._notifier = notifier
        self._account_data = account_data
        self._clock = clock
        self._read_up_to = read_up_to

    async def mark(
        self, room_id: str, user_id: str, marks: dict[str, str], thread_id: str = UNTHREADED
    ) -> Refused | None:
        """Move the user's marks forward: kind (m.read, m.read.private, m.fully_read) to event id, all or none.

        A mark that stands at a later event already is left there.
        """
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> Refused | None:
            places = {kind: storage.place_of_event(transaction, room_id, event_id) for kind, event_id in marks.items()}
            if None in places.values():
                return Refused(Refusal.NOT_FOUND, "There is no such event in the room")
            for kind, event_id in marks.items():
                if kind == FULLY_READ:
                    self._mark_fully_read(transaction, room_id, user_id, event_id, places[kind])
                else:
                    self._mark_read(transaction, room_id, user_id, kind, thread_id, event_id, places[kind], now_ms)
            return None

        return await self._database.write(write)

    async def receive(self, receipts: Collection[RemoteReceipt]) -> None:
        """Take in what another server tells. The event of a receipt may arrive later than the receipt."""

        def write(transaction: Transaction) -> None:
            for receipt in receipts:
                room_id, user_id, thread_id = receipt.room_id, receipt.user_id, receipt.thread_id
                place = storage.place_of_event(transaction, room_id, receipt.event_id)
                earlier = storage.find_receipt(transaction, room_id, user_id, READ, thread_id)
                if earlier == receipt.event_id or self._is_behind(transaction, room_id, earlier, place):
                    continue
                position = next_position(transaction)
                storage.set_receipt(
                    transaction,
                    room_id=room_id,
                    user_id=user_id,
                    kind=READ,
                    thread_id=thread_id,
                    event_id=receipt.event_id,
                    ts=receipt.ts,
                    position=position,
                )
                transaction.after_commit(partial(self._notifier.publish_room, room_id, position))

        await self._database.write(write)

    def since(
        self, connection: Reader, user_id: str, room_ids: Collection[str], since: int, upto: int
    ) -> dict[str, JsonObject]:
        """By room id, the content of an m.receipt event with the receipts set at since < position <= upto.

        Private receipts of other users than `user_id` are left out.
        """
        contents: dict[str, JsonObject] = {}
        for row in storage.receipts_since(connection, room_ids, since, upto):
            if row["type"] == READ_PRIVATE and row["user_id"] != user_id:
                continue
            receipt: JsonObject = {"ts": row["ts"]}
            if row["thread_id"] != UNTHREADED:
                receipt["thread_id"] = row["thread_id"]
            of_event = contents.setdefault(row["room_id"], {}).setdefault(row["event_id"], {})
            of_user = of_event.setdefault(row["type"], {})
            # The content has one place for each user and event; an unthreaded receipt says the most.
            if row["thread_id"] == UNTHREADED or row["user_id"] not in of_user:
                of_user[row["user_id"]] = receipt
        return contents

    def _mark_read(
        self,
        transaction: Transaction,
        room_id: str,
        user_id: str,
        kind: str,
        thread_id: str,
        event_id: str,
        place: int | None,
        now_ms: int,
    ) -> None:
        earlier = storage.find_receipt(transaction, room_id, user_id, kind, thread_id)
        if self._is_behind(transaction, room_id, earlier, place):
            return
        position = next_position(transaction)
        storage.set_receipt(
            transaction,
            room_id=room_id,
            user_id=user_id,
            kind=kind,
            thread_id=thread_id,
            event_id=event_id,
            ts=now_ms,
            position=position,
        )
        if place is not None:
            self._read_up_to(transaction, user_id, room_id, thread_id, place)
        transaction.after_commit(lambda: self._notifier.publish_room(room_id, position, (user_id,)))

    def _mark_fully_read(
        self, transaction: Transaction, room_id: str, user_id: str, event_id: str, place: int | None
    ) -> None:
        text = read_data(transaction, user_id, room_id, FULLY_READ)
        earlier = None if text is None else orjson.loads(text).get("event_id")
        if not self._is_behind(transaction, room_id, earlier, place):
            self._account_data.set_within(transaction, user_id, FULLY_READ, {"event_id": event_id}, room_id)

    @staticmethod
    def _is_behind(transaction: Transaction, room_id: str, earlier: str | None, place: int | None) -> bool:
        """Whether a mark at `place` would not move on from the event `earlier`."""
        before = None if earlier is None else storage.place_of_event(transaction, room_id, earlier)
        return before is not None and place is not None and place <= before
