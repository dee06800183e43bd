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

import orjson

from bench.http_client import HttpClient


class RequestFailed(Exception):
    """The server did not answer 200: the benchmark has no meaning."""


@dataclass
class MatrixClient:
    """One logged-in user. `access_token` is empty before `register` or `login`."""

    session: HttpClient
    base_url: str
    access_token: str = ""
    user_id: str = ""
    _transactions: itertools.count[int] = field(default_factory=itertools.count)

    def at(self, session: HttpClient, base_url: str) -> MatrixClient:
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

    async def create_room(self, name: str = "Kitchen") -> str:
        """Make a room that anyone may join and return its id."""
        body = {"preset": "public_chat", "name": name}
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

    async def sliding_sync(
        self, pos: str = "", timeout_ms: int = 0, *, rooms: int, timeline_limit: int = 1, connection: str = "bench"
    ) -> dict[str, Any]:
        """One simplified sliding sync: a list of the first `rooms` with what a room list shows, and all extensions."""
        wanted = [["m.room.create", ""], ["m.room.encryption", ""], ["m.room.name", ""], ["m.room.member", "$LAZY"]]
        body = {
            "conn_id": connection,
            "lists": {"all": {"ranges": [[0, rooms - 1]], "timeline_limit": timeline_limit, "required_state": wanted}},
            "extensions": {
                name: {"enabled": True} for name in ("to_device", "e2ee", "account_data", "receipts", "typing")
            },
        }
        query = f"?timeout={timeout_ms}&set_presence=offline" + (f"&pos={quote(pos)}" if pos else "")
        return await self._call("POST", f"/_matrix/client/unstable/org.matrix.simplified_msc3575/sync{query}", body)

    async def messages(self, room_id: str, limit: int, start: str = "", *, forwards: bool = False) -> dict[str, Any]:
        """A page of a room's history, from `start` or the end that the direction begins at."""
        query = f"?dir={'f' if forwards else 'b'}&limit={limit}" + (f"&from={quote(start)}" if start else "")
        return await self._call("GET", f"/_matrix/client/v3/rooms/{quote(room_id)}/messages{query}")

    async def open_room(self, room_id: str, limit: int) -> dict[str, Any]:
        """What a client needs to show a room that it does not know: an initial sync of that room alone."""
        wanted = {"rooms": [room_id], "timeline": {"limit": limit}, "state": {"lazy_load_members": True}}
        query = f"?set_presence=offline&filter={quote(_dumps({'room': wanted}))}"
        return await self._call("GET", f"/_matrix/client/v3/sync{query}")

    async def event_near(self, room_id: str, timestamp_ms: int) -> str:
        """The id of the first event at or after that time."""
        path = f"/_matrix/client/v1/rooms/{quote(room_id)}/timestamp_to_event?ts={timestamp_ms}&dir=f"
        return str((await self._call("GET", path))["event_id"])

    async def context(self, room_id: str, event_id: str) -> dict[str, Any]:
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/context/{quote(event_id)}?limit=2"
        return await self._call("GET", path)

    async def search(self, room_id: str, word: str) -> int:
        """How many messages of the room have the word."""
        criteria = {"search_term": word, "filter": {"rooms": [room_id]}}
        answer = await self._call("POST", "/_matrix/client/v3/search", {"search_categories": {"room_events": criteria}})
        return int(answer["search_categories"]["room_events"]["count"])

    async def upload(self, content: bytes, content_type: str) -> str:
        """Returns server name and media id, as download paths have them."""
        headers = {"Authorization": f"Bearer {self.access_token}", "Content-Type": content_type}
        answer = await self._content("POST", "/_matrix/media/v3/upload", headers, content)
        return str(orjson.loads(answer)["content_uri"]).removeprefix("mxc://")

    async def download(self, media: str, query: str = "") -> bytes:
        """The file, or with a `query` a thumbnail of it."""
        path = f"/_matrix/client/v1/media/{'thumbnail' if query else 'download'}/{media}{query}"
        return await self._content("GET", path, {"Authorization": f"Bearer {self.access_token}"})

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.access_token}"} if self.access_token else {}
        headers["Content-Type"] = "application/json"
        content = await self._content(method, path, headers, b"" if body is None else orjson.dumps(body))
        answer = orjson.loads(content)
        assert isinstance(answer, dict)
        return answer

    async def _content(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
        status, content = await self.session.request(method, self.base_url, path, headers, body)
        if status != 200:
            raise RequestFailed(f"{method} {path}: {status} {content[:300]!r}")
        return content

    def _is_logged_in(self, answer: dict[str, Any]) -> None:
        self.access_token, self.user_id = answer["access_token"], answer["user_id"]


def _dumps(value: Any) -> str:
    return orjson.dumps(value).decode()
