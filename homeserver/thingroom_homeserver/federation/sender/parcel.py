"""One transaction for one server, as it waits on disk until that server has acknowledged it.

The events are kept by id: their JSON is in the table of events, and one that is redacted meanwhile goes out redacted.
May import storage and msgspec. Made in courier.py.
"""

from __future__ import annotations

from secrets import token_urlsafe
from typing import Any

import msgspec

from thingroom_homeserver.storage.destinations import Cursors

JsonObject = dict[str, Any]

MAX_EVENTS = 50
MAX_EDUS = 100


class Told(msgspec.Struct, frozen=True, array_like=True):
    """An update of a device list among the EDUs, by its row of the outbox."""

    user_id: str
    device_id: str
    stream_id: int


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A transaction and what its arrival settles.

    to_device_upto: the number of the last message to a device in it; 0 if there is none.
    """

    transaction_id: str
    made_ms: int
    event_ids: tuple[str, ...]
    edus: tuple[JsonObject, ...]
    events_upto: int
    receipts_upto: int
    presence_upto: int
    to_device_upto: int = 0
    told: tuple[Told, ...] = ()

    @property
    def cursors(self) -> Cursors:
        return Cursors(self.events_upto, self.receipts_upto, self.presence_upto)

    @property
    def size(self) -> int:
        """How many things are in it, of the kind it has more of."""
        return max(len(self.event_ids), len(self.edus))


def new_transaction_id() -> str:
    """One that no transaction of this server ever had, also not before its database was restored from a backup."""
    return token_urlsafe(12)


def encode_parcel(parcel: Parcel) -> bytes:
    return msgspec.json.encode(parcel)


def decode_parcel(data: bytes) -> Parcel:
    return msgspec.json.decode(data, type=Parcel)
