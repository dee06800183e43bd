"""Messages from device to device: kept until the device shows by its next /sync that it got them.

May import storage, the notifier and thingroom_common. It is the `ToDevice` port of rooms/ports.py.
Source: client-server API, "Send-to-Device messaging".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import orjson

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.storage import to_device as storage
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.positions import next_position

MAX_A_RESPONSE = 100
# A device that does not come for them any more gets no further ones.
MAX_WAITING = 20_000
KEEP_TRANSACTION_IDS_MS = 7 * 24 * 3600 * 1000

ALL_DEVICES = "*"
FROM_SERVER = ""
"""Stands where a local sender's session would; no device has that id."""

JsonObject = dict[str, Any]


class RemoteMessages(Protocol):
    """What takes messages to users of other servers along."""

    def queue(
        self, transaction: Transaction, sender: str, kind: str, messages: Mapping[str, Mapping[str, JsonObject]]
    ) -> None:
        """Queue, with this write, those of the messages that are for users of other servers."""
        ...


class ToDevice:
    """The queues of messages to devices."""

    def __init__(self, database: Database, notifier: Notifier, clock: Clock, *, max_waiting: int = MAX_WAITING) -> None:
        self._remote: RemoteMessages | None = None
        self._database = database
        self._notifier = notifier
        self._clock = clock
        self._max_waiting = max_waiting

    def send_remote_by(self, remote: RemoteMessages) -> None:
        """From now on messages to users of other servers go there; until then they are left out."""
        self._remote = remote

    async def send(
        self,
        sender: str,
        session: str,
        kind: str,
        transaction_id: str,
        messages: Mapping[str, Mapping[str, JsonObject]],
    ) -> None:
        """Queue messages by user id and device id ("*": all devices that the user has). Unknown devices are left out.

        `session` is what transaction ids are scoped to; one that was used before does nothing.
        """
        await self._take(sender, session, kind, transaction_id, messages, self._remote)

    async def receive(
        self, sender: str, kind: str, message_id: str, messages: Mapping[str, Mapping[str, JsonObject]]
    ) -> None:
        """The same for what another server brings of its user `sender`; a message id does something only once."""
        await self._take(sender, FROM_SERVER, kind, message_id, messages, None)

    async def _take(
        self,
        sender: str,
        session: str,
        kind: str,
        transaction_id: str,
        messages: Mapping[str, Mapping[str, JsonObject]],
        remote: RemoteMessages | None,
    ) -> None:
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> None:
            fresh = storage.use_transaction_id(
                transaction, sender, session, kind, transaction_id, now_ms, KEEP_TRANSACTION_IDS_MS
            )
            if not fresh:
                return
            position = next_position(transaction)
            reached = []
            for user_id, by_device in messages.items():
                known = storage.device_ids_of(transaction, user_id)
                for device_id in known if ALL_DEVICES in by_device else known & by_device.keys():
                    content = by_device[device_id if device_id in by_device else ALL_DEVICES]
                    message = storage.Message(sender, kind, orjson.dumps(content).decode())
                    storage.add_message(transaction, user_id, device_id, message, position, self._max_waiting)
                if known:
                    reached.append(user_id)
            if remote is not None:
                remote.queue(transaction, sender, kind, messages)
            transaction.after_commit(lambda: self._notifier.publish_users(reached, position))

        await self._database.write(write)

    def waiting(
        self, connection: Reader, user_id: str, device_id: str, after: int, upto: int, limit: int | None = None
    ) -> tuple[list[JsonObject], int]:
        """The next messages at after < position <= upto, in order, and the position up to which that is all.

        A response holds at most MAX_A_RESPONSE, or `limit`; the position is then that of the last of them, else `upto`.
        """
        most = MAX_A_RESPONSE if limit is None else min(limit, MAX_A_RESPONSE)
        rows = storage.waiting(connection, user_id, device_id, after, upto, most)
        events = [
            {"sender": row["sender"], "type": row["type"], "content": orjson.loads(row["content"])} for row in rows
        ]
        return events, (rows[-1]["position"] if rows and len(rows) == most else upto)

    async def acknowledge(self, user_id: str, device_id: str, upto: int) -> None:
        """The device has what was sent at position <= upto: delete it. Writes only if there is something."""
        if self._database.read(lambda connection: storage.has_waiting(connection, user_id, device_id, upto)):
            await self._database.write(
                lambda transaction: storage.delete_messages(transaction, user_id, device_id, upto)
            )
