"""The client of the homeserver: requests as an application service, each with one of three ends.

Speaks the Client-Server API with the as_token, acting as users by ?user_id= (Application Service API, Identity
assertion). May import aiohttp. Ends are values: Done, Later (try again), Refused (never). rooms.py and outbox.py call
it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

import aiohttp
from yarl import URL

MAX_ANSWER: Final = 8_000_000
_CLIENT: Final = "/_matrix/client/v3"


@dataclass(frozen=True, slots=True)
class Done:
    """200; `body` is the answer's JSON object."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing is decided: no answer, a server error, too many requests. `seconds` is what the server asked for."""

    why: str
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The homeserver says no, and will say so again."""

    status: int
    errcode: str
    error: str

    def __str__(self) -> str:
        return f"{self.status} {self.errcode}: {self.error}"


Answer = Done | Later | Refused
E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request is over. `kind` is a word of its endpoint ("send"), never a name; `why` is empty when it is ok."""

    kind: str
    outcome: Literal["ok", "refused", "limited", "failed"]
    seconds: float
    why: str


class AppserviceClient:
    """One HTTP session with the homeserver. `watchers` see how each request ended."""

    def __init__(self, url: str, as_token: str, timeout: float) -> None:
        self._url = url.rstrip("/")
        self.watchers: list[Callable[[Asked], None]] = []
        self._session = aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {as_token}"}, timeout=aiohttp.ClientTimeout(total=timeout)
        )

    async def close(self) -> None:
        await self._session.close()

    async def register(self, localpart: str) -> Answer:
        """Make a user of our namespace; Done also if it is there already."""
        body = {"type": "m.login.application_service", "username": localpart, "inhibit_login": True}
        answer = await self.request("POST", "/register", body)
        if isinstance(answer, Refused) and answer.errcode == "M_USER_IN_USE":
            return Done({})
        return answer

    async def set_display_name(self, user: str, name: str) -> Answer:
        return await self.request("PUT", f"/profile/{quote(user, safe='')}/displayname", {"displayname": name}, user)

    async def avatar_url(self, user: str) -> Answer:
        """`avatar_url`: the user's picture; refused or empty where there is none."""
        return await self.request("GET", f"/profile/{quote(user, safe='')}/avatar_url")

    async def set_avatar_url(self, user: str, uri: str) -> Answer:
        return await self.request("PUT", f"/profile/{quote(user, safe='')}/avatar_url", {"avatar_url": uri}, user)

    async def create_room(self, body: dict[str, Any]) -> Answer:
        return await self.request("POST", "/createRoom", body)

    async def resolve_alias(self, alias: str) -> Answer:
        return await self.request("GET", f"/directory/room/{quote(alias, safe='')}")

    async def capabilities(self) -> Answer:
        return await self.request("GET", "/capabilities")

    async def invite(self, room: str, user: str) -> Answer:
        return await self.request("POST", f"/rooms/{quote(room, safe='')}/invite", {"user_id": user})

    async def join(self, room: str, user: str) -> Answer:
        return await self.request("POST", f"/join/{quote(room, safe='')}", {}, user)

    async def send(self, room: str, type_: str, txn_id: str, content: str, user: str, ts: int) -> Answer:
        """Send an event as `user` with the time `ts` (Unix ms). `content` is JSON text."""
        path = f"/rooms/{quote(room, safe='')}/send/{quote(type_, safe='')}/{quote(txn_id, safe='')}"
        return await self.request("PUT", path, content, user, ts)

    async def set_state(self, room: str, type_: str, state_key: str, content: str | dict[str, Any]) -> Answer:
        """Set state as the bot."""
        path = f"/rooms/{quote(room, safe='')}/state/{quote(type_, safe='')}/{quote(state_key, safe='')}"
        return await self.request("PUT", path, content)

    async def redact(self, room: str, event_id: str, txn_id: str, reason: str) -> Answer:
        path = f"/rooms/{quote(room, safe='')}/redact/{quote(event_id, safe='')}/{quote(txn_id, safe='')}"
        return await self.request("PUT", path, {"reason": reason})

    async def leave(self, room: str, user: str | None = None) -> Answer:
        """Leave as `user`, None for the bot; an invitation is declined so."""
        return await self.request("POST", f"/rooms/{quote(room, safe='')}/leave", {}, user)

    async def join_as_bot(self, room: str) -> Answer:
        return await self.request("POST", f"/join/{quote(room, safe='')}", {})

    async def joined_members(self, room: str) -> Answer:
        """`joined`: user id to display name and avatar."""
        return await self.request("GET", f"/rooms/{quote(room, safe='')}/joined_members")

    async def state(self, room: str, type_: str, state_key: str = "") -> Answer:
        """The content of a state event."""
        key = quote(state_key, safe="")
        return await self.request("GET", f"/rooms/{quote(room, safe='')}/state/{quote(type_, safe='')}/{key}")

    async def whole_state(self, room: str) -> list[dict[str, Any]] | Later | Refused:
        """All state events of a room that the bot is in."""
        return await self._fetch("GET", f"{_CLIENT}/rooms/{quote(room, safe='')}/state", None, {}, _events_end)

    async def upload(self, data: bytes, content_type: str, filename: str) -> str | Later | Refused:
        """Put a file into the content repository as the bot; returns its mxc:// URI."""
        path = f"/_matrix/media/v3/upload?filename={quote(filename, safe='')}"
        answer = await self._fetch("POST", path, data, {"Content-Type": content_type}, _end)
        if not isinstance(answer, Done):
            return answer
        uri = answer.body.get("content_uri")
        return uri if isinstance(uri, str) else Later("the homeserver took a file and did not say where it is")

    async def request(
        self,
        method: str,
        path: str,
        body: str | dict[str, Any] | None = None,
        user: str | None = None,
        ts: int | None = None,
    ) -> Answer:
        """One request below /_matrix/client/v3; `path` is percent-encoded already. Raises nothing but bugs."""
        query = {}
        if user is not None:
            query["user_id"] = user
        if ts is not None:
            query["ts"] = str(ts)
        data = body if isinstance(body, str) or body is None else json.dumps(body)
        suffix = "&".join(f"{name}={quote(value, safe='')}" for name, value in query.items())
        headers = {"Content-Type": "application/json"} if data is not None else {}
        return await self._fetch(method, f"{_CLIENT}{path}" + (f"?{suffix}" if suffix else ""), data, headers, _end)

    async def _fetch(
        self,
        method: str,
        path: str,
        data: str | bytes | None,
        headers: dict[str, str],
        end: Callable[[int, bytes, str | None], E],
    ) -> E | Later:
        began, status = monotonic(), 0
        ended: E | Later
        try:
            async with self._session.request(
                method, URL(self._url + path, encoded=True), data=data, headers=headers, allow_redirects=False
            ) as response:
                text = await _bounded(response)
                status = response.status
                ended = end(status, text, response.headers.get("Retry-After"))
        except TimeoutError:
            ended = Later("the homeserver did not answer in time")
        except (aiohttp.ClientError, OSError) as error:
            ended = Later(f"the homeserver cannot be reached ({error or type(error).__name__})")
        asked = _asked(path, status, ended, monotonic() - began)
        for watcher in self.watchers:
            watcher(asked)
        return ended


def _asked(path: str, status: int, ended: object, seconds: float) -> Asked:
    parts = path.partition("?")[0].removeprefix(_CLIENT).split("/")
    kind = parts[3] if parts[1] == "rooms" else parts[-1] if parts[1] == "_matrix" else parts[1]
    if isinstance(ended, Refused):
        return Asked(kind, "refused", seconds, str(ended))
    if isinstance(ended, Later):
        return Asked(kind, "limited" if status == 429 else "failed", seconds, ended.why)
    return Asked(kind, "ok", seconds, "")


async def _bounded(response: aiohttp.ClientResponse) -> bytes:
    data = await response.content.read(MAX_ANSWER)
    while not response.content.at_eof() and len(data) < MAX_ANSWER:
        data += await response.content.read(MAX_ANSWER - len(data))
    return data


def _end(status: int, text: bytes, retry_after: str | None) -> Answer:
    """What status and body mean. Pure."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):
        body = None
    if status == 200 and isinstance(body, dict):
        return Done(body)
    fields = body if isinstance(body, dict) else {}
    errcode = fields.get("errcode")
    errcode = errcode if isinstance(errcode, str) else "M_UNKNOWN"
    error = str(fields.get("error", ""))[:200]
    if status == 429 or errcode == "M_LIMIT_EXCEEDED":
        return Later("the homeserver asks for patience", _patience(fields.get("retry_after_ms"), retry_after))
    # A wrong token is the configuration's fault, not the request's: it can be mended, so the request waits.
    if status == 401 or errcode in ("M_UNKNOWN_TOKEN", "M_MISSING_TOKEN"):
        return Later(f"the homeserver does not know our token ({errcode})")
    if 400 <= status < 500 and status not in (408, 425):
        return Refused(status, errcode, error)
    return Later(f"the homeserver answered {status} {error}".strip())


def _events_end(status: int, text: bytes, retry_after: str | None) -> list[dict[str, Any]] | Later | Refused:
    """The same where the body of a 200 is an array of events. Pure."""
    if status == 200:
        try:
            body = json.loads(text)
        except (ValueError, RecursionError):
            return Later("the homeserver's answer is no JSON")
        return [event for event in body if isinstance(event, dict)] if isinstance(body, list) else []
    end = _end(status, text, retry_after)
    return Later("the homeserver's answer makes no sense") if isinstance(end, Done) else end


def _patience(milliseconds: object, header: str | None) -> float | None:
    """Seconds to wait: the Retry-After header, else the deprecated retry_after_ms; at most an hour."""
    if header is not None and header.isdecimal():
        return min(float(header), 3600.0)
    if isinstance(milliseconds, int) and milliseconds >= 0:
        return min(milliseconds / 1000, 3600.0)
    return None
