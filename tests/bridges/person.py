"""A person at a Matrix client: syncs all the time, accepts invites when told to, talks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from tests.homeserver.running import MatrixClient, RunningHomeserver, escape
from tests.patience import PATIENCE_SECONDS


@dataclass
class Person:
    """`seen`: (room id, event) of all timelines so far; `invites`: room id to who invited, `names` to its name."""

    client: MatrixClient
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    invites: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    ephemeral: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Any = field(default_factory=itertools.count)

    async def say(self, room_id: str, text: str) -> str:
        path = f"v3/rooms/{escape(room_id)}/send/m.room.message/n{next(self._numbers)}"
        return (await self.client.put(path, {"msgtype": "m.text", "body": text})).ok()["event_id"]

    async def join(self, room_id: str) -> None:
        (await self.client.post(f"v3/join/{escape(room_id)}")).ok()

    async def until(self, done: Callable[[], Any], what: str = "", seconds: float = PATIENCE_SECONDS) -> Any:
        """Wait until `done()` is something; what it is then."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.news.clear()
                    if result := done():
                        return result
                    await self.news.wait()
        except TimeoutError:
            lines = [
                f"{event['sender']}: {event['content']['body']:.80}"
                for _, event in self.seen
                if "body" in event["content"]
            ]
            raise AssertionError(f"{what} did not happen; seen: {lines[-30:]}, invites: {self.invites}") from None

    async def told(self, room_id: str, text: str, sender: str | None = None) -> dict[str, Any]:
        """Wait for a message that contains `text`; its event."""

        def found() -> dict[str, Any] | None:
            for of_room, event in self.seen:
                body = event["content"].get("body", "")
                if of_room == room_id and text in body and sender in (None, event["sender"]):
                    return event
            return None

        return await self.until(found, f"a message with {text!r}")

    async def joined_by(self, room_id: str, user_id: str) -> dict[str, Any]:
        """Wait until the user is in the room; the member event."""

        def found() -> dict[str, Any] | None:
            for of_room, event in reversed(self.seen):
                if (of_room, event["type"], event.get("state_key")) == (room_id, "m.room.member", user_id):
                    return event if event["content"]["membership"] == "join" else None
            return None

        return await self.until(found, f"{user_id} joining")

    async def invited(self, by: str | None = None, but: tuple[str, ...] = (), name: str = "") -> str:
        """Wait for an invite to a room that is none of `but` and has `name` in its name, and accept it; the room id."""

        def found() -> str | None:
            for room_id, inviter in self.invites.items():
                if room_id not in but and by in (None, inviter) and name in self.names.get(room_id, ""):
                    return room_id
            return None

        room_id = await self.until(found, f"an invite by {by} to {name or 'a room'}")
        del self.invites[room_id]
        await self.join(room_id)
        return room_id

    async def run(self) -> None:
        query: dict[str, Any] = {}
        while True:
            answer = (await self.client.get("v3/sync", timeout=5000, **query)).ok()
            query = {"since": answer["next_batch"]}
            rooms = answer.get("rooms", {})
            for room_id, room in rooms.get("invite", {}).items():
                for event in room["invite_state"]["events"]:
                    if event["type"] == "m.room.name":
                        self.names[room_id] = event["content"]["name"]
                    if event["type"] == "m.room.member" and event["state_key"] == self.client.user_id:
                        self.invites[room_id] = event["sender"]
            for room_id, room in rooms.get("join", {}).items():
                events = (*room.get("state", {}).get("events", ()), *room.get("timeline", {}).get("events", ()))
                self.seen += [(room_id, event) for event in events]
                self.ephemeral += [(room_id, event) for event in room.get("ephemeral", {}).get("events", ())]
            self.news.set()


@contextlib.asynccontextmanager
async def person(server: RunningHomeserver, name: str) -> AsyncIterator[Person]:
    """A registered person who syncs while the block runs."""
    who = Person(await server.register(name))
    task = asyncio.create_task(who.run())
    try:
        yield who
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
