"""Profiles of users of other servers, asked for and remembered for a while.

May import storage and this package. Source: Server-Server API, "Querying for information", /query/profile.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from thingroom_common.database import Database
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import json_length
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.storage.events import EventStore
from thingroom_homeserver.storage.memberships import newest_join

JsonObject = dict[str, Any]

FRESH_SECONDS = 300.0
MAX_REMEMBERED = 5000
MAX_PROFILE_BYTES = 65_536
ANSWER_WITHIN_SECONDS = 10.0
OF_MEMBERS = ("displayname", "avatar_url")


@dataclass(frozen=True, slots=True)
class _Remembered:
    fields: JsonObject | Failed
    until: float


class RemoteProfiles:
    """Asks other servers about their users. Must be used on the event loop."""

    def __init__(self, database: Database, events: EventStore, client: FederationClient, clock: Clock) -> None:
        self._database = database
        self._events = events
        self._client = client
        self._clock = clock
        self._remembered: OrderedDict[str, _Remembered] = OrderedDict()
        self._asking: dict[str, asyncio.Task[JsonObject | Failed]] = {}

    async def close(self) -> None:
        for task in list(self._asking.values()):
            task.cancel()
        await asyncio.gather(*self._asking.values(), return_exceptions=True)

    async def fetch(self, user_id: str) -> JsonObject | Failed:
        """The user's profile. Of a server that does not answer: what it said last, or the user's rooms show of them.

        Failed with status 403 or 404: the server says no, or knows no such user.
        """
        remembered = self._remembered.get(user_id)
        if remembered is not None and self._clock.monotonic() < remembered.until:
            return remembered.fields
        task = self._asking.get(user_id)
        if task is None:
            task = asyncio.create_task(self._ask(user_id), name="ask for a profile")
            self._asking[user_id] = task
            task.add_done_callback(lambda _: self._asking.pop(user_id, None))
        answer = await asyncio.shield(task)
        if isinstance(answer, Failed) and answer.status not in (403, 404):
            if remembered is not None and not isinstance(remembered.fields, Failed):
                return remembered.fields
            return self._in_rooms(user_id) or answer
        return answer

    async def _ask(self, user_id: str) -> JsonObject | Failed:
        answer = await self._client.request(
            user_id.partition(":")[2],
            "GET",
            path("v1", "query", "profile"),
            query=[("user_id", user_id)],
            timeout_seconds=ANSWER_WITHIN_SECONDS,
            max_bytes=MAX_PROFILE_BYTES,
        )
        if isinstance(answer, Failed):
            if answer.status in (403, 404):
                self._remember(user_id, answer)
            return answer
        fields = {name: value for name, value in answer.items() if value is not None and _fits(name, value)}
        self._remember(user_id, fields)
        return fields

    def _remember(self, user_id: str, fields: JsonObject | Failed) -> None:
        self._remembered.pop(user_id, None)
        self._remembered[user_id] = _Remembered(fields, self._clock.monotonic() + FRESH_SECONDS)
        if len(self._remembered) > MAX_REMEMBERED:
            self._remembered.popitem(last=False)

    def _in_rooms(self, user_id: str) -> JsonObject | None:
        """The name and avatar in the user's newest member event; None if they are in no room here."""

        def read(connection: Any) -> JsonObject | None:
            event_id = newest_join(connection, user_id)
            stored = None if event_id is None else self._events.get(connection, event_id)
            if stored is None:
                return None
            content = stored.event.content
            return {name: content[name] for name in OF_MEMBERS if isinstance(content.get(name), str)}

        return self._database.read(read)


def _fits(name: str, value: Any) -> bool:
    """Whether a field of another server's answer can be shown to clients."""
    if name in OF_MEMBERS:
        return isinstance(value, str)
    return json_length(value) is not None
