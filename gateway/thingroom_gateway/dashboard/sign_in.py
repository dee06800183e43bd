"""Who somebody is, by the word of the homeserver: their password goes there, and only there.

The access token that the homeserver gives is used for `whoami` and ended at once. May import aiohttp. Client-Server
API, Login; pages_sign_in.py calls `Matrix`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import aiohttp

logger = logging.getLogger(__name__)

MAX_ANSWER: Final = 65_536
SECONDS: Final = 20.0
REMEMBER_FLOWS_SECONDS: Final = 30.0
LOGOUT_PAUSES: Final = (0.5, 5.0, 30.0)
# So many may be signing in at one moment.
AT_ONCE: Final = 8
MAX_PASSWORD: Final = 512
_LOCALPART: Final = re.compile(r"[!-9;-~]{1,200}")
_DEVICE_NAME: Final = "Thingroom dashboard, signing in"


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The homeserver says that it is `person`, a user id of its own."""

    person: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Not signed in: a sentence for the person, and the HTTP status that fits."""

    sentence: str
    status: int


@dataclass(frozen=True, slots=True)
class Flows:
    """How one can sign in at the homeserver; `away` if it does not say."""

    password: bool
    sso: bool
    away: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the homeserver answers, with how long it took (ms), or why not."""

    milliseconds: int | None
    why: str = ""


_AWAY = Denied("The homeserver does not answer. Try again in a moment.", 503)
_NONSENSE = Denied("The homeserver's answer makes no sense.", 502)


def user_id_of(text: str, server: str) -> str | None:
    """The user id that somebody means: their name, or the whole id. None unless it can be one of `server`."""
    name = text.strip()
    if name.startswith("@"):
        name, _, where = name[1:].partition(":")
        if where != server:
            return None
    return f"@{name}:{server}" if _LOCALPART.fullmatch(name) else None


class Matrix:
    """Asks the homeserver. Close it at the end."""

    def __init__(self, url: str, server: str, monotonic: Callable[[], float]) -> None:
        self._url = url.rstrip("/")
        self._server = server
        self._monotonic = monotonic
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=SECONDS), cookie_jar=aiohttp.DummyCookieJar()
        )
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._flows: tuple[float, Flows] | None = None
        self._health: tuple[float, Health] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._session.close()

    async def flows(self) -> Flows:
        """Remembered for half a minute, so that our page is no lever against the homeserver."""
        now = self._monotonic()
        if self._flows is not None and now - self._flows[0] < REMEMBER_FLOWS_SECONDS:
            return self._flows[1]
        status, body = await self._ask("GET", "/login")
        offered = body.get("flows") if status == 200 else None
        if not isinstance(offered, list):
            return Flows(password=True, sso=False, away=True)
        types = {flow.get("type") for flow in offered if isinstance(flow, dict)}
        flows = Flows("m.login.password" in types, "m.login.sso" in types and "m.login.token" in types)
        self._flows = (now, flows)
        return flows

    async def health(self) -> Health:
        """Whether the homeserver answers now; remembered for five seconds."""
        now = self._monotonic()
        if self._health is not None and now - self._health[0] < 5.0:
            return self._health[1]
        try:
            async with asyncio.timeout(5):
                status, _ = await self._ask("GET", "", "/_matrix/client/versions")
        except TimeoutError:
            status = 0
        took = int((self._monotonic() - now) * 1000)
        health = Health(took) if status == 200 else Health(None, f"it answers {status}" if status else "no answer")
        self._health = (self._monotonic(), health)
        return health

    async def with_password(self, user: str, password: str) -> SignedIn | Denied:
        """`user` is a user id of our server. Never logged, never kept."""
        identifier = {"type": "m.id.user", "user": user}
        return await self._log_in({"type": "m.login.password", "identifier": identifier, "password": password})

    async def with_token(self, token: str) -> SignedIn | Denied:
        """The end of single sign-on: the homeserver sent the browser back with `token`."""
        return await self._log_in({"type": "m.login.token", "token": token})

    async def _log_in(self, body: dict[str, Any]) -> SignedIn | Denied:
        if self._turn.locked():
            return Denied("Too many are signing in at this moment. Try again in a moment.", 503)
        async with self._turn:
            status, answer = await self._ask(
                "POST", "/login", body={**body, "initial_device_display_name": _DEVICE_NAME}
            )
            if status != 200:
                return _denied(status, answer)
            token = answer.get("access_token")
            if not isinstance(token, str) or not token:
                return _NONSENSE
            try:
                status, who = await self._ask("GET", "/account/whoami", token=token)
            finally:
                # Whoever cancels us meanwhile leaves no session behind at the homeserver.
                task = asyncio.create_task(self._log_out(token))
                self._ending.add(task)
                task.add_done_callback(self._ending.discard)
            await asyncio.wait([task], timeout=2)
        person = who.get("user_id")
        if status != 200:
            return _AWAY
        if not isinstance(person, str) or person != answer.get("user_id") or user_id_of(person, self._server) != person:
            return _NONSENSE
        return SignedIn(person)

    async def _log_out(self, token: str) -> None:
        """End the homeserver's session; its device goes with it."""
        for pause in (*LOGOUT_PAUSES, None):
            status, _ = await self._ask("POST", "/logout", body={}, token=token)
            if status in (200, 401):
                return
            if pause is not None:
                await asyncio.sleep(pause)
        logger.warning("the homeserver did not end a session that was used to sign in; it is called %r", _DEVICE_NAME)

    async def _ask(
        self,
        method: str,
        path: str,
        base: str = "/_matrix/client/v3",
        body: dict[str, Any] | None = None,
        token: str = "",
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON object of an answer; status 0 if there is none."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with self._session.request(
                method, self._url + base + path, json=body, headers=headers, allow_redirects=False
            ) as response:
                data = await response.content.read(MAX_ANSWER)
                while not response.content.at_eof() and len(data) < MAX_ANSWER:
                    data += await response.content.read(MAX_ANSWER - len(data))
                answer = json.loads(data)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, {}
        except (ValueError, RecursionError):
            return response.status if response.status != 200 else 502, {}
        return response.status, answer if isinstance(answer, dict) else {}


def _denied(status: int, answer: dict[str, Any]) -> Denied:
    errcode = answer.get("errcode")
    if status == 429:
        return Denied("The homeserver asks for patience after so many tries. Try again later.", 429)
    if errcode == "M_USER_DEACTIVATED":
        return Denied("This account is deactivated.", 403)
    if status in (400, 401, 403):
        return Denied("The homeserver does not know this name with this password.", 403)
    if status == 404:
        return Denied("The homeserver has no such way to sign in.", 502)
    return _AWAY
