"""A room with one user of each of several servers, and what these users see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
from tests.homeserver.running import PASSWORD, MatrixClient, escape
from tests.patience import PATIENCE_SECONDS


async def until(check: Callable[[], Awaitable[Any]], seconds: float = PATIENCE_SECONDS) -> Any:
    """What `check` gives once that is true."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):
            await asyncio.sleep(0.02)
        return found


class Syncing:
    """A client that goes on syncing: everything it was told so far."""

    def __init__(self, client: MatrixClient) -> None:
        self.client = client
        self.since: str | None = None
        self.events: list[dict[str, Any]] = []
        self.typing: list[str] = []
        self.receipts: list[dict[str, Any]] = []
        self.presence: list[dict[str, Any]] = []
        self.to_device: list[dict[str, Any]] = []
        self.changed: list[str] = []
        self.left: list[str] = []

    async def step(self, timeout_ms: int = 0) -> None:
        """One /sync."""
        query: dict[str, Any] = {"timeout": timeout_ms, "filter": '{"room": {"timeline": {"limit": 1000}}}'}
        if self.since is not None:
            query["since"] = self.since
        body = (await self.client.get("v3/sync", **query)).ok()
        self.since = body["next_batch"]
        self.presence += body.get("presence", {}).get("events", [])
        self.to_device += body.get("to_device", {}).get("events", [])
        self.changed += body.get("device_lists", {}).get("changed", [])
        self.left += body.get("device_lists", {}).get("left", [])
        for room in body.get("rooms", {}).get("join", {}).values():
            self.events += room["timeline"]["events"]
            for event in room.get("ephemeral", {}).get("events", []):
                if event["type"] == "m.typing":
                    self.typing = event["content"]["user_ids"]
                else:
                    self.receipts.append(event["content"])

    async def until(self, check: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:
        """Sync until `check()` is true, and give that."""
        async with asyncio.timeout(seconds):
            while not (found := check()):
                await self.step(200)
            return found

    def bodies(self) -> list[str]:
        """Of the messages so far, in the order in which they came."""
        return [event["content"].get("body") for event in self.events if event["type"] == "m.room.message"]


async def register_at(http: aiohttp.ClientSession, base_url: str, name: str) -> MatrixClient:
    """A new account on a server of ours that runs as a process, logged in."""
    client = MatrixClient(http, base_url)
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    session = (await client.post("v3/register", body)).ok()
    client.token, client.user_id, client.device_id = session["access_token"], session["user_id"], session["device_id"]
    return client


async def shared_room(owner: MatrixClient, via: str, *others: MatrixClient, version: str = "12", **body: Any) -> str:
    """A public room of `owner`, on the server `via`, that the others have joined."""
    made = await owner.post("v3/createRoom", {"room_version": version, "preset": "public_chat", **body})
    room_id = str(made.ok()["room_id"])
    for other in others:
        (await other.post(f"v3/join/{escape(room_id)}", via=via)).ok()
    return room_id


async def say(client: MatrixClient, room_id: str, body: str) -> str:
    """Send a text; its event id. The body is the transaction id too."""
    content = {"msgtype": "m.text", "body": body}
    answer = await client.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/{escape(body)}", content)
    return str(answer.ok()["event_id"])


async def history(client: MatrixClient, room_id: str) -> list[dict[str, Any]]:
    """Every event of the room that the client can read, oldest first, by pages."""
    found: list[dict[str, Any]] = []
    start: dict[str, Any] = {}
    while True:
        page = (await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=100, **start)).ok()
        found += page["chunk"]
        if "end" not in page:
            return found[::-1]
        start = {"from": page["end"]}
