"""One of our servers with a room and its owner, and a server that does as it is told, in the same room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.federation.lying_peer import LyingPeer, lying_peer
from tests.federation.peers import Authority, Peer, running_peer
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS


@dataclass
class FederatedHouse:
    """`owner` made the room on `peer`; `other` joined it."""

    peer: Peer
    owner: MatrixClient
    room_id: str
    other: LyingPeer

    async def bodies(self, limit: int = 50) -> list[str]:
        """The messages that the owner reads, oldest first."""
        answer = await self.owner.get(f"v3/rooms/{escape(self.room_id)}/messages", dir="b", limit=limit)
        found = [event["content"].get("body") for event in answer.ok()["chunk"] if event["type"] == "m.room.message"]
        return found[::-1]

    async def send(self, body: str, room_id: str | None = None) -> str:
        """A message of the owner's."""
        content = {"msgtype": "m.text", "body": body}
        uri = f"v3/rooms/{escape(room_id or self.room_id)}/send/m.room.message/{escape(body)}"
        answer = await self.owner.put(uri, content)
        event_id: str = answer.ok()["event_id"]
        return event_id

    async def set_state(self, event_type: str, content: dict[str, Any], state_key: str = "") -> str:
        uri = f"v3/rooms/{escape(self.room_id)}/state/{event_type}/{escape(state_key)}"
        event_id: str = (await self.owner.put(uri, content)).ok()["event_id"]
        return event_id

    async def other_knows(self, event_id: str) -> None:
        """Wait until the event was sent to the other server."""
        await eventually(lambda: event_id in self.other.events)

    @property
    def waiting(self) -> int:
        """How many events wait for their ancestors, on disk."""
        database = self.peer.services.database
        return int(database.read(lambda c: c.execute("SELECT COUNT(*) FROM staged_events").fetchone()[0]))


@contextlib.asynccontextmanager
async def federated_house(
    directory: Path, authority: Authority, *, room: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[FederatedHouse]:
    async with running_peer(directory / "one", authority, **options) as peer:
        owner = await peer.register("owner")
        room_id = (await owner.post("v3/createRoom", {"preset": "public_chat", **(room or {})})).ok()["room_id"]
        async with lying_peer(authority, peer, room_id) as other:
            yield FederatedHouse(peer, owner, room_id, other)


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE_SECONDS, pause: float = 0.02
) -> None:
    """Wait until the condition holds; fail if it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            result = condition()
            if await result if isinstance(result, Awaitable) else result:
                return
            await asyncio.sleep(pause)
