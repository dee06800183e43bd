"""Whether the homeserver knows the gateway, step by step, and what to do where it does not.

Each step asks one thing, of the file, of the homeserver, of the way back; the first that fails ends it, for the later
ones could only fail too. May import aiohttp, config, registration. registration_commands.py shows the findings.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import aiohttp
from aiohttp import web

from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.control import is_running
from thingroom_gateway.registration import (
    GHOST_PREFIX,
    SENDER_LOCALPART,
    Registration,
    RegistrationError,
    load_registration,
)

# The homeserver may try for a while to reach us before it says that it cannot.
SECONDS: Final = 30.0
RESTART: Final = "then restart the homeserver"


@dataclass(frozen=True, slots=True)
class Finding:
    """One step: whether it is well, what was found, and what to do if it is not."""

    ok: bool
    text: str
    do: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; status 0: there was none, and `error` says why."""

    status: int
    errcode: str
    error: str
    body: dict[str, Any]


async def check(config: GatewayConfig) -> list[Finding]:
    """Go through the steps until one fails. Raises nothing but bugs."""
    try:
        registration = load_registration(Path(config.registration_file))
    except RegistrationError as error:
        return [Finding(False, str(error), "Write one: thingroom gateway register")]
    findings: list[Finding] = []
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=SECONDS)) as session:
        asker = _Asker(session, config, registration)
        steps: tuple[Callable[[], Awaitable[Finding]], ...] = (
            asker.file,
            asker.homeserver,
            asker.token,
            asker.namespace,
            asker.way_back,
        )
        for step in steps:
            findings.append(await step())
            if not findings[-1].ok:
                break
    return findings


class _Asker:
    def __init__(self, session: aiohttp.ClientSession, config: GatewayConfig, registration: Registration) -> None:
        self._session = session
        self._config = config
        self._registration = registration
        self._file = Path(config.registration_file)
        self._url = config.homeserver_url.rstrip("/")
        self._bot = f"@{SENDER_LOCALPART}:{config.server_name}"

    async def file(self) -> Finding:
        """The file fits the configuration."""
        registration, listen = self._registration, self._config.appservice
        ghost = f"@{GHOST_PREFIX}0123456789abcdef:{self._config.server_name}"
        anew = f"Write it anew: thingroom gateway register --replace; copy it to the homeserver, {RESTART}."
        if registration.sender_localpart != SENDER_LOCALPART:
            text = f"{self._file} is not the gateway's: its sender_localpart is {registration.sender_localpart}"
            return Finding(False, text, "Name the gateway's file as registration_file in [gateway].")
        if not registration.covers(ghost):
            text = f"{self._file} does not give users like {ghost} to the gateway"
            return Finding(False, text, f"It was written for another server_name, or changed. {anew}")
        if not registration.url:
            return Finding(False, f"{self._file} has no url, so the homeserver tells the gateway nothing", anew)
        port = urlsplit(registration.url).port
        if listen.port and port is not None and port != listen.port and _is_here(registration.url):
            text = f"{self._file} says {registration.url}, but the gateway listens on port {listen.port}"
            return Finding(False, text, f"Change port in [gateway.appservice], or: {anew}")
        if stat.S_IMODE(self._file.stat().st_mode) & 0o077:
            text = f"{self._file} can be read by others, and holds two secrets"
            return Finding(False, text, f"Close it: chmod 600 {self._file}")
        return Finding(
            True, f"{self._file} is for {self._config.server_name}, and for the gateway at {registration.url}"
        )

    async def homeserver(self) -> Finding:
        answer = await self._ask("GET", "/_matrix/client/versions", token=False)
        if answer.status == 200 and isinstance(answer.body.get("versions"), list):
            return Finding(True, f"A homeserver answers at {self._url}")
        what = answer.error if answer.status == 0 else f"it answers {answer.status}, as no homeserver does"
        return Finding(
            False, f"No homeserver at {self._url}: {what}", "Start it, or change homeserver_url in [gateway]."
        )

    async def token(self) -> Finding:
        """It knows the token, as the bot of this server."""
        answer = await self._ask("GET", "/_matrix/client/v3/account/whoami")
        user = answer.body.get("user_id")
        if answer.status == 200 and user == self._bot:
            return Finding(True, f"It knows the gateway as {user}")
        if answer.status == 200 and isinstance(user, str):
            name = user.partition(":")[2]
            return Finding(
                False,
                f"It knows the gateway as {user}, but server_name in [gateway] is {self._config.server_name}",
                f'Set server_name = "{name}" in [gateway], then: thingroom gateway register --replace; copy the file, '
                f"{RESTART}.",
            )
        if answer.status == 401:
            return Finding(
                False,
                f"It does not know the token in {self._file} ({answer.errcode})",
                "Either its configuration does not name the file (Synapse: app_service_config_files in"
                " homeserver.yaml), or it has not been restarted since, or it has an older copy of the file.",
            )
        return Finding(False, f"It answers {_words(answer)} to the gateway", "Its log may say why.")

    async def namespace(self) -> Finding:
        """It gives us the users of devices. Asked as one that there is not, so that nobody is made."""
        ghost = f"@{GHOST_PREFIX}check:{self._config.server_name}"
        answer = await self._ask("GET", f"/_matrix/client/v3/account/whoami?user_id={quote(ghost, safe='')}")
        # Synapse's words and ours; who is registered already is just told who they are.
        if answer.status == 200 or (answer.status == 403 and "not registered" in answer.error):
            return Finding(True, f"It lets the gateway speak for devices (@{GHOST_PREFIX}…)")
        return Finding(
            False,
            f"It does not let the gateway speak for devices ({_words(answer)})",
            f"Its copy of the registration has other namespaces. Copy {self._file} to it again, {RESTART}.",
        )

    async def way_back(self) -> Finding:
        """It reaches us, by the application service's ping; a gateway that does not run has a stand-in meanwhile."""
        async with _listening(self._config, self._registration) as problem:
            if problem:
                return Finding(False, problem, "Change port in [gateway.appservice], or end what is there.")
            path = f"/_matrix/client/v1/appservice/{quote(self._registration.id, safe='')}/ping"
            answer = await self._ask("POST", path, {"transaction_id": secrets.token_hex(8)})
        url = self._registration.url
        if answer.status == 200:
            return Finding(True, f"It reaches the gateway at {url}, in {answer.body.get('duration_ms', '?')} ms")
        if answer.errcode in ("M_CONNECTION_FAILED", "M_CONNECTION_TIMEOUT"):
            return Finding(
                False,
                f"It does not reach the gateway at {url}",
                "From its machine or container that address must lead here: set host in [gateway.appservice], and write"
                " the url anew: thingroom gateway register --replace --url http://ADDRESS:PORT; copy the file,"
                f" {RESTART}.",
            )
        if answer.errcode == "M_BAD_STATUS":
            return Finding(
                False,
                f"What answers it at {url} refuses it (status {answer.body.get('status', '?')})",
                "Either another program is there, or its copy of the registration has another hs_token:"
                f" copy {self._file} to it again, {RESTART}.",
            )
        if answer.errcode == "M_URL_NOT_SET":
            do = f"Copy {self._file} to it again, {RESTART}."
            return Finding(False, "Its copy of the registration has no url, so it tells the gateway nothing", do)
        if answer.errcode == "M_UNRECOGNIZED" or answer.status == 404:
            return Finding(True, "It is too old to be asked whether it reaches the gateway (Matrix v1.7)")
        return Finding(False, f"Asked whether it reaches the gateway, it answers {_words(answer)}", "See its log.")

    async def _ask(self, method: str, path: str, body: object = None, token: bool = True) -> Answer:
        headers = {"Authorization": f"Bearer {self._registration.as_token}"} if token else {}
        try:
            async with self._session.request(method, self._url + path, json=body, headers=headers) as response:
                answer = await response.json(content_type=None)
                found = answer if isinstance(answer, dict) else {}
                return Answer(response.status, str(found.get("errcode", "")), str(found.get("error", ""))[:200], found)
        except TimeoutError:
            return Answer(0, "", "it does not answer in time", {})
        except ValueError:
            return Answer(response.status, "", "no JSON", {})
        except (aiohttp.ClientError, OSError) as error:
            return Answer(0, "", f"it cannot be reached ({error})", {})


@contextlib.asynccontextmanager
async def _listening(config: GatewayConfig, registration: Registration) -> AsyncIterator[str]:
    """The gateway, or where none runs somebody who answers the ping in its place; yields why nobody can."""
    if await is_running(config.directory):
        yield ""
        return

    async def ping(request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {registration.hs_token}".encode()):
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "Wrong homeserver token."}, status=403)
        return web.json_response({})

    app = web.Application()
    app.router.add_post("/_matrix/app/v1/ping", ping)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, config.appservice.host, config.appservice.port).start()
    except OSError as error:
        yield f"The gateway cannot listen on {config.appservice.host}:{config.appservice.port}: {error.strerror}"
    else:
        yield ""
    finally:
        await runner.cleanup()


def _is_here(url: str) -> bool:
    """Whether the url leads to this machine without a detour: beyond it a proxy or a container may change ports."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


def _words(answer: Answer) -> str:
    return f"{answer.status} {answer.errcode} {answer.error}".strip() if answer.status else answer.error


def check_now(config: GatewayConfig) -> list[Finding]:
    """`check`, for the command line."""
    return asyncio.run(check(config))
