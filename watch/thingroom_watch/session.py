"""One account and one room of it, by matrix-nio: what a watcher asks a homeserver. May import home, verify.

Events leave here as the dicts that the server sent. watching.py decides what to ask.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import aiohttp
import nio

from thingroom_watch.device_state import DEVICE_TYPE
from thingroom_watch.home import Account
from thingroom_watch.verify import READINGS_TYPE

TYPES: Final = [READINGS_TYPE, DEVICE_TYPE]
PAGE_EVENTS: Final = 250
LONG_POLL_MS: Final = 30_000
RETRY_SECONDS: Final = (0.5, 1, 2, 5, 10, 30, 60)
_NOTHING: Final[dict[str, Any]] = {"types": []}
Event = dict[str, Any]
_Answer = TypeVar("_Answer")


class WatchEnded(Exception):
    """It cannot go on, and trying again does not help: removed from the room, logged out. The message is for people."""


@dataclass(frozen=True, slots=True)
class Synced:
    """What is new in the room, oldest first; `limited`: there is more between the last time and `before`.

    `state`: device states before `events`, in a first sync. `ended`: empty while the account is in the room.
    """

    after: str
    before: str
    events: list[Event]
    state: list[Event]
    limited: bool
    ended: str


@dataclass(frozen=True, slots=True)
class Page:
    """A piece of history, newest first. `before`: where the next one begins, empty at the beginning of the room."""

    events: list[Event]
    before: str


async def login(homeserver: str, user: str, password: str) -> Account:
    """A new session. `homeserver`: a URL, or empty to ask the user's server. Raises WatchEnded, aiohttp.ClientError."""
    client = nio.AsyncClient(homeserver or f"https://{user.partition(':')[2]}", user, config=_config())
    try:
        if not homeserver:
            found = await client.discovery_info()
            if isinstance(found, nio.DiscoveryInfoResponse):
                client.homeserver = found.homeserver_url
        answer = await client.login(password, "thingroom watch")
        if not isinstance(answer, nio.LoginResponse):
            raise WatchEnded(f"{client.homeserver} does not let {user} in: {answer.message}")
        return Account(client.homeserver, answer.user_id, answer.device_id, answer.access_token)
    finally:
        await client.close()


def _config() -> nio.AsyncClientConfig:
    # Without a limit of timeouts matrix-nio tries again by itself for ever, and nobody hears of it.
    return nio.AsyncClientConfig(encryption_enabled=False, max_timeouts=0, request_timeout=LONG_POLL_MS // 1000 + 30)


class Session:
    """Use as a context manager. `retrying` is told when the homeserver does not answer, and why."""

    def __init__(self, account: Account, retrying: Callable[[str], None] = lambda reason: None) -> None:
        self._client = nio.AsyncClient(account.homeserver, account.user_id, account.device_id, config=_config())
        self._client.restore_login(account.user_id, account.device_id, account.access_token)
        self._retrying = retrying
        self.user_id = account.user_id
        self.room_id = ""

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def enter(self, room: str) -> str:
        """Be in `room` (an id, an alias, or the name of a room that the account is in or invited to). Returns its id.

        An invitation is accepted. Raises WatchEnded.
        """
        if room.startswith("#"):
            answer = await self._ask(lambda: self._client.room_resolve_alias(room))
            if not isinstance(answer, nio.RoomResolveAliasResponse):
                raise WatchEnded(f"{room} is not known: {answer.message}")
            room = str(answer.room_id)
        looked_for = {"types": ["m.room.name"]}
        about = {"timeline": {**looked_for, "limit": 1}, "state": looked_for, "ephemeral": _NOTHING}
        sync_filter = {"room": {**about, "account_data": _NOTHING}, "presence": _NOTHING, "account_data": _NOTHING}
        synced = await self._ask(lambda: self._client.sync(0, sync_filter))
        if not isinstance(synced, nio.SyncResponse):
            raise WatchEnded(f"The homeserver refuses to tell of rooms: {synced.message}")
        if not room.startswith("!"):
            rooms = {**self._client.invited_rooms, **self._client.rooms}
            named = [room_id for room_id, one in rooms.items() if one.name == room]
            if len(named) != 1:
                raise WatchEnded(f"{len(named) or 'No'} rooms are called {room}: name it by its id or alias.")
            room = named[0]
        if room not in synced.rooms.join:
            joined = await self._ask(lambda: self._client.join(room))
            if not isinstance(joined, nio.JoinResponse):
                raise WatchEnded(f"The room cannot be entered: {joined.message}. Does the invitation still hold?")
        self.room_id = room
        return room

    async def sync(self, since: str, timeout_ms: int) -> Synced:
        """What came after `since`; with an empty one what there is now. Raises WatchEnded."""
        sync_filter = {
            "room": {
                "rooms": [self.room_id],
                "timeline": {"types": [*TYPES, "m.room.member"], "limit": PAGE_EVENTS if since else 1},
                "state": {"types": [DEVICE_TYPE]},
                "ephemeral": _NOTHING,
                "account_data": _NOTHING,
            },
            "presence": _NOTHING,
            "account_data": _NOTHING,
        }
        if not since:
            # Else matrix-nio goes on from its last sync, which was about other things.
            self._client.next_batch = ""
        answer = await self._ask(lambda: self._client.sync(timeout_ms, sync_filter, since or None))
        if not isinstance(answer, nio.SyncResponse):
            raise WatchEnded(f"The homeserver refuses to tell of the room: {answer.message}")
        left, joined = answer.rooms.leave.get(self.room_id), answer.rooms.join.get(self.room_id)
        info = left or joined
        if info is None:
            return Synced(answer.next_batch, "", [], [], False, "")
        events = [event.source for event in info.timeline.events]
        state = [event.source for event in info.state]
        ended = "" if left is None else self._why(events)
        before = info.timeline.prev_batch or ""
        return Synced(answer.next_batch, before, events, state, bool(info.timeline.limited), ended)

    async def page(self, before: str, after: str) -> Page:
        """The history before a place, not beyond `after` (empty: to the beginning). Raises WatchEnded."""
        wanted = {"types": TYPES}
        back, limit = nio.MessageDirection.back, PAGE_EVENTS
        answer = await self._ask(
            lambda: self._client.room_messages(self.room_id, before, after or None, back, limit, wanted)
        )
        if not isinstance(answer, nio.RoomMessagesResponse):
            raise WatchEnded(f"The room's history cannot be read: {answer.message}")
        end = answer.end or ""
        return Page([event.source for event in answer.chunk], "" if end == before else end)

    async def state_at(self, event_id: str) -> list[Event]:
        """The devices' states at an event; what there was before it can be judged by them."""
        answer = await self._ask(lambda: self._client.room_context(self.room_id, event_id, 0))
        if not isinstance(answer, nio.RoomContextResponse):
            raise WatchEnded(f"The room's state cannot be read: {answer.message}")
        return [event.source for event in answer.state if event.source.get("type") == DEVICE_TYPE]

    def _why(self, events: list[Event]) -> str:
        for event in reversed(events):
            if event.get("type") == "m.room.member" and event.get("state_key") == self.user_id:
                reason = event.get("content", {}).get("reason")
                return f"{event.get('sender')} ended it{f': {reason}' if reason else ''}."
        return "The account is not in the room any more."

    async def _ask(self, request: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask until there is an answer; no answer is no reason to give up, however long it takes."""
        for attempt in range(1_000_000):
            try:
                answer = await request()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
            else:
                response = getattr(answer, "transport_response", None)
                if response is None or response.status < 500:
                    return answer
                reason = f"the homeserver answers {response.status}"
            self._retrying(reason)
            await asyncio.sleep(RETRY_SECONDS[min(attempt, len(RETRY_SECONDS) - 1)])
        raise WatchEnded("The homeserver does not answer.")
