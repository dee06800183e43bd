"""Another user of the homeserver, over plain HTTP: who fills the rooms that the client under test looks at.

Nothing but the calls that the flows need, named after the specification's. Reading goes on in tests/flows/.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
from tests.browser.homeservers import Homeserver

PASSWORD = "correct horse battery"


class CallFailed(Exception):
    """The homeserver answered with an error; the message is the request and the answer."""


@dataclass
class Person:
    """A user that is signed in."""

    user_id: str
    base_url: str
    session: aiohttp.ClientSession
    _transactions: itertools.count[int] = field(default_factory=itertools.count)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One request below /_matrix/client/v3/. Raises CallFailed."""
        async with self.session.request(method, f"{self.base_url}/_matrix/client/v3/{path}", json=body) as response:
            answer = await response.json()
            if response.status != 200:
                raise CallFailed(f"{method} {path} {body}: {response.status} {answer}")
            return dict(answer)

    async def create_room(self, **options: Any) -> str:
        return str((await self.call("POST", "createRoom", options))["room_id"])

    async def join(self, room_id: str) -> None:
        await self.call("POST", f"join/{quote(room_id)}", {})

    async def send(self, room_id: str, event_type: str, content: dict[str, Any]) -> str:
        """Returns the event id."""
        path = f"rooms/{quote(room_id)}/send/{event_type}/t{next(self._transactions)}"
        return str((await self.call("PUT", path, content))["event_id"])

    async def notice(self, room_id: str, body: str) -> str:
        """A reading as the gateway words it. Returns the event id."""
        return await self.send(room_id, "m.room.message", {"msgtype": "m.notice", "body": body})

    async def event(self, room_id: str, event_id: str) -> dict[str, Any]:
        return await self.call("GET", f"rooms/{quote(room_id)}/event/{quote(event_id)}")

    async def recent(self, room_id: str, limit: int = 20) -> list[dict[str, Any]]:
        """The newest events, newest first."""
        return list((await self.call("GET", f"rooms/{quote(room_id)}/messages?dir=b&limit={limit}"))["chunk"])


@asynccontextmanager
async def new_person(homeserver: Homeserver, localpart: str, display_name: str | None = None) -> AsyncIterator[Person]:
    """Register and sign in. The password is PASSWORD."""
    await homeserver.register(localpart, PASSWORD)
    async with aiohttp.ClientSession() as session:
        person = Person("", homeserver.base_url, session)
        identifier = {"type": "m.id.user", "user": localpart}
        answer = await person.call(
            "POST", "login", {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        )
        person.user_id = answer["user_id"]
        session.headers["Authorization"] = f"Bearer {answer['access_token']}"
        if display_name is not None:
            path = f"profile/{quote(person.user_id)}/displayname"
            await person.call("PUT", path, {"displayname": display_name})
        yield person
