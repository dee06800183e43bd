"""The one Matrix client of the benchmarks: the same few requests, byte for byte, to whichever server is measured.

Imports nothing of ours. Every call raises RequestFailed unless the server answers 200.
"""

from __future__ import annotations

import hashlib
import hmac
import itertools
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson


class RequestFailed(Exception):
    """The server did not answer 200: the benchmark has no meaning."""


def new_session() -> aiohttp.ClientSession:
    """A session with as many connections as there are clients, and patience for a long poll."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=90), json_serialize=_dumps
    )


@dataclass
class MatrixClient:
    """One logged-in user. `access_token` is empty before `register` or `login`."""

    session: aiohttp.ClientSession
    base_url: str
    access_token: str = ""
    user_id: str = ""
    _transactions: itertools.count[int] = field(default_factory=itertools.count)

    def at(self, session: aiohttp.ClientSession, base_url: str) -> MatrixClient:
        """The same login on another connection: the server may have been restarted on another port."""
        return MatrixClient(session, base_url, self.access_token, self.user_id)

    async def register(self, shared_secret: str, name: str, password: str) -> None:
        """Register through the shared-secret admin API, which Synapse and ours have in common."""
        path = "/_synapse/admin/v1/register"
        nonce = (await self._call("GET", path))["nonce"]
        mac = hmac.new(shared_secret.encode(), f"{nonce}\0{name}\0{password}\0notadmin".encode(), hashlib.sha1)
        body = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac.hexdigest()}
        self._is_logged_in(await self._call("POST", path, body))

    async def login(self, name: str, password: str) -> None:
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": password}
        self._is_logged_in(await self._call("POST", "/_matrix/client/v3/login", body))

    async def create_room(self) -> str:
        """Make a room that anyone may join and return its id."""
        body = {"preset": "public_chat", "name": "Kitchen"}
        return str((await self._call("POST", "/_matrix/client/v3/createRoom", body))["room_id"])

    async def join(self, room_id: str, via: str = "") -> None:
        """Join; `via` is a server in the room where the client's own is not. Synapse looks for it under both names."""
        query = f"?via={quote(via)}&server_name={quote(via)}" if via else ""
        await self._call("POST", f"/_matrix/client/v3/join/{quote(room_id)}{query}", {})

    async def get(self, path: str) -> dict[str, Any]:
        """Any other question. `path` goes on after /_matrix/client/v3/, with its query."""
        return await self._call("GET", f"/_matrix/client/v3/{path}")

    async def send(self, room_id: str, text: str) -> str:
        """Send one text message and return its event id."""
        transaction = f"{self.user_id}.{next(self._transactions)}.{id(self)}"
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/m.room.message/{quote(transaction)}"
        return str((await self._call("PUT", path, {"msgtype": "m.text", "body": text}))["event_id"])

    async def sync(self, since: str = "", timeout_ms: int = 0, timeline_limit: int = 0) -> dict[str, Any]:
        """One /sync; with a `timeline_limit` a room brings that many events instead of the server's choice."""
        query = f"?timeout={timeout_ms}&set_presence=offline" + (f"&since={quote(since)}" if since else "")
        if timeline_limit:
            query += f"&filter={quote(_dumps({'room': {'timeline': {'limit': timeline_limit}}}))}"
        return await self._call("GET", f"/_matrix/client/v3/sync{query}")

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        async with self.session.request(method, self.base_url + path, json=body, headers=headers) as response:
            content = await response.read()
            if response.status != 200:
                raise RequestFailed(f"{method} {path}: {response.status} {content[:300]!r}")
        answer = orjson.loads(content)
        assert isinstance(answer, dict)
        return answer

    def _is_logged_in(self, answer: dict[str, Any]) -> None:
        self.access_token, self.user_id = answer["access_token"], answer["user_id"]


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()
