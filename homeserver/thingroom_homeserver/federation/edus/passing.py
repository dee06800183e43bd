"""Typing, receipts and presence of other servers' users.

May import rooms, accounts and storage. Source: Server-Server API, "Typing Notifications", "Receipts", "Presence".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from thingroom_homeserver.accounts.presence import STATES
from thingroom_homeserver.accounts.receipts import READ, UNTHREADED, RemoteReceipt
from thingroom_homeserver.accounts.remote_presence import RemotePresence
from thingroom_homeserver.core.canonical_json import MAX_INTEGER
from thingroom_homeserver.core.identifiers import is_valid_event_id, is_valid_room_id, is_valid_user_id
from thingroom_homeserver.federation.local_parts import LocalParts
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.residence import server_may_take_part
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.memberships import membership_of
from thingroom_homeserver.storage.receipts import place_of_event
from thingroom_homeserver.storage.room_servers import server_shares_with

MAX_RECEIPTS = 500
MAX_PRESENCE = 500
MAX_STATUS = 1000
TYPING_MS = 60_000
"""How long somebody of another server types if that server says nothing more."""
MAIN_TIMELINE = "main"

JsonObject = dict[str, Any]


def speaks_for(origin: str, user_id: object) -> bool:
    """Whether that is a user id of the server."""
    return is_valid_user_id(user_id) and str(user_id).partition(":")[2] == origin


class PassingEdus:
    """What users of other servers do at the moment."""

    def __init__(self, rooms: Rooms, local: LocalParts) -> None:
        self._rooms = rooms
        self._local = local

    async def typing(self, origin: str, content: JsonObject) -> None:
        room_id, user_id = content.get("room_id"), content.get("user_id")
        if not (is_valid_room_id(room_id) and speaks_for(origin, user_id)):
            return
        room_id, user_id = str(room_id), str(user_id)
        if not self._rooms.database.read(lambda connection: self._takes_part(connection, origin, room_id, user_id)):
            return
        if content.get("typing") is True:
            self._local.typing.start(room_id, user_id, TYPING_MS)
        else:
            self._local.typing.stop(room_id, user_id)

    async def receipts(self, origin: str, content: JsonObject) -> None:
        found = self._rooms.database.read(lambda connection: list(self._receipts_in(connection, origin, content)))
        if found:
            await self._local.receipts.receive(found)

    async def presence(self, origin: str, content: JsonObject) -> None:
        presence, pushed = self._local.presence, content.get("push")
        if not presence.enabled or not isinstance(pushed, list):
            return
        now_ms = self._rooms.clock.now_ms()
        told: dict[str, RemotePresence] = {}
        for one in pushed[:MAX_PRESENCE]:
            parsed = (
                _presence(one, now_ms) if isinstance(one, dict) and speaks_for(origin, one.get("user_id")) else None
            )
            if parsed is not None:
                told[one["user_id"]] = parsed
        own_name = self._rooms.server_name
        shared = self._rooms.database.read(
            lambda connection: {user: told[user] for user in told if server_shares_with(connection, user, own_name)}
        )
        await presence.remote.receive(shared)

    def _takes_part(self, connection: Reader, origin: str, room_id: str, user_id: str) -> bool:
        member = membership_of(connection, room_id, user_id)
        if member is None or member.membership != "join":
            return False
        return server_may_take_part(self._rooms, connection, room_id, origin)

    def _receipts_in(self, connection: Reader, origin: str, content: JsonObject) -> Iterator[RemoteReceipt]:
        left = MAX_RECEIPTS
        for room_id, by_kind in content.items():
            read = by_kind.get(READ) if isinstance(by_kind, dict) else None
            for user_id, receipt in read.items() if isinstance(read, dict) else ():
                left -= 1
                if left < 0:
                    return
                parsed = _receipt(connection, room_id, user_id, receipt)
                if (
                    parsed is not None
                    and speaks_for(origin, user_id)
                    and self._takes_part(connection, origin, room_id, user_id)
                ):
                    yield parsed


def _receipt(connection: Reader, room_id: str, user_id: str, receipt: object) -> RemoteReceipt | None:
    """The receipt; None if it is not one, or for a thread that is not known."""
    if not isinstance(receipt, dict) or not isinstance(data := receipt.get("data"), dict):
        return None
    event_ids, ts, thread_id = receipt.get("event_ids"), data.get("ts"), data.get("thread_id", UNTHREADED)
    if not (isinstance(event_ids, list) and len(event_ids) == 1 and is_valid_event_id(event_ids[0])):
        return None
    if type(ts) is not int or not 0 <= ts <= MAX_INTEGER or not isinstance(thread_id, str):
        return None
    known = thread_id in (UNTHREADED, MAIN_TIMELINE) or place_of_event(connection, room_id, thread_id) is not None
    return RemoteReceipt(room_id, user_id, thread_id, event_ids[0], ts) if known else None


def _presence(told: JsonObject, now_ms: int) -> RemotePresence | None:
    state, status, ago = told.get("presence"), told.get("status_msg"), told.get("last_active_ago", 0)
    if not isinstance(state, str) or state not in STATES:
        return None
    if type(ago) is not int or not 0 <= ago <= now_ms:
        ago = 0
    return RemotePresence(
        state,
        status[:MAX_STATUS] if isinstance(status, str) else None,
        now_ms - ago,
        told.get("currently_active") is True,
    )
