"""What local users do, on its way to other servers: typing, presence, messages to devices.

Receipts and device lists need no word here: the sender finds them in the tables. May import storage, core and this
package. Next: sender/sender.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from secrets import token_urlsafe
from typing import Any

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import NESTING_OUTSIDE, CanonicalJsonError, encode_canonical_json
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.federation.local_parts import LocalParts
from thingroom_homeserver.federation.sender.sender import Sender
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.destinations import queue_to_device, to_device_waiting

TOLD_AGAIN_SECONDS = 25.0
"""Somebody who goes on typing is told of again after that, before the other server's patience ends."""
MAX_REMEMBERED = 10_000
MAX_CONTENT_BYTES = 50_000
"""How large the content of one m.direct_to_device becomes by what is put together in it."""
MAX_QUEUED = 20_000
"""A server that does not come back gets no further messages."""

JsonObject = dict[str, Any]
Messages = Mapping[str, Mapping[str, JsonObject]]


class Outgoing:
    """Hands on what local users do."""

    def __init__(self, rooms: Rooms, sender: Sender) -> None:
        self._rooms = rooms
        self._sender = sender
        self._typing_told: dict[tuple[str, str], float] = {}

    def attach(self, local: LocalParts) -> None:
        """Listen to the local parts from now on."""
        local.typing.add_listener(self.typing)
        local.presence.add_listener(self._sender.presence_changed)
        local.device_lists.add_listener(self._sender.wake_all)
        local.to_device.send_remote_by(self)

    def typing(self, room_id: str, user_id: str, is_typing: bool) -> None:
        """Somebody types, goes on typing, or stopped."""
        if not self._rooms.is_local(user_id):
            return
        key, now = (room_id, user_id), self._sender.monotonic()
        if is_typing:
            if now - self._typing_told.get(key, -TOLD_AGAIN_SECONDS) < TOLD_AGAIN_SECONDS:
                return
            self._typing_told[key] = now
            if len(self._typing_told) > MAX_REMEMBERED:
                del self._typing_told[next(iter(self._typing_told))]
        else:
            self._typing_told.pop(key, None)
        content = {"room_id": room_id, "user_id": user_id, "typing": is_typing}
        self._sender.send_to_room(room_id, {"edu_type": "m.typing", "content": content}, ("typing", room_id, user_id))

    def queue(self, transaction: Transaction, sender: str, kind: str, messages: Messages) -> None:
        """Queue messages for users of other servers, each server its own."""
        by_server: dict[str, dict[str, Mapping[str, JsonObject]]] = {}
        for user_id, by_device in messages.items():
            if not self._rooms.is_local(user_id) and is_valid_user_id(user_id) and by_device:
                by_server.setdefault(user_id.partition(":")[2], {})[user_id] = by_device
        for server, of_server in by_server.items():
            if to_device_waiting(transaction, server) >= MAX_QUEUED:
                continue
            for part in _parts(of_server):
                content = {"sender": sender, "type": kind, "message_id": token_urlsafe(18), "messages": part}
                queue_to_device(transaction, server, orjson.dumps(content).decode(), self._rooms.clock.now_ms())
        if by_server:
            transaction.after_commit(lambda: self._sender.wake_all(by_server))


def _parts(messages: Messages) -> Iterator[dict[str, dict[str, JsonObject]]]:
    """The messages in contents of a limited size; what cannot be signed is left out."""
    part: dict[str, dict[str, JsonObject]] = {}
    size = 0
    for user_id, by_device in messages.items():
        for device_id, content in by_device.items():
            length = _length(content)
            if length is None:
                continue
            if part and size + length > MAX_CONTENT_BYTES:
                yield part
                part, size = {}, 0
            part.setdefault(user_id, {})[device_id] = content
            size += length
    if part:
        yield part


def _length(content: JsonObject) -> int | None:
    """Bytes of the content; None if it is nested too deeply to be sent within a transaction."""
    wrapped: Any = content
    for _ in range(NESTING_OUTSIDE):
        wrapped = [wrapped]
    try:
        return len(encode_canonical_json(wrapped, strict=False))
    except CanonicalJsonError:
        return None
