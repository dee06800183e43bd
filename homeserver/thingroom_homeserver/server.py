"""The composition root: the one place where the homeserver's parts are made and handed to each other.

May import everything. `serve` runs until it is told to stop; `build_app` is the same server without the sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

from aiohttp import web

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew
from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.appservices import load_appservices
from thingroom_homeserver.accounts.passwords import Passwords
from thingroom_homeserver.client_api import account_endpoints
from thingroom_homeserver.clock import Clock, SystemClock
from thingroom_homeserver.config import HomeserverConfig, listener_address
from thingroom_homeserver.http.authentication import Authentication
from thingroom_homeserver.http.endpoint import Endpoint, Response
from thingroom_homeserver.http.frame import Frame
from thingroom_homeserver.http.interactive_auth import InteractiveAuth
from thingroom_homeserver.http.logins import Logins
from thingroom_homeserver.http.rate_limit import RateLimiter
from thingroom_homeserver.services import Services
from thingroom_homeserver.signing_key_file import load_or_make
from thingroom_homeserver.storage.schema import MIGRATIONS

logger = logging.getLogger(__name__)

DATABASE_NAME = "homeserver.db"
SECONDS_TO_FINISH = 2.0
SAVE_LAST_SEEN_SECONDS = 60.0

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


class StartError(Exception):
    """The server cannot start; the message is one sentence for the person who started it."""


def endpoints() -> tuple[Endpoint, ...]:
    """Everything that the server answers to."""
    return account_endpoints.ENDPOINTS


def build_app(config: HomeserverConfig, *, clock: Clock | None = None) -> web.Application:
    """The server as an aiohttp application: parts are made when it starts (StartError) and closed when it ends.

    While it runs, `app[SERVICES]` holds them.
    """
    app = web.Application(client_max_size=config.max_body_bytes)
    frames: list[Frame] = []

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with running_services(config, clock or SystemClock()) as services:
            app[SERVICES] = services
            frames.append(Frame(endpoints(), services))
            yield

    async def handle(http: web.Request) -> Response:
        return await frames[0].handle(http)

    app.cleanup_ctx.append(run)
    app.router.add_route("*", "/{tail:.*}", handle)
    return app


@contextlib.asynccontextmanager
async def running_services(config: HomeserverConfig, clock: Clock) -> AsyncIterator[Services]:
    """Open the data directory and make the parts. Raises StartError."""
    directory = Path(config.data_directory)
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.callback(_lock(directory).close)
            signing_key = load_or_make(directory)
            appservices = load_appservices(config.appservice_files, config.server_name)
            database = await Database.open(directory / DATABASE_NAME, MIGRATIONS)
        except (ConfigError, SchemaTooNew) as error:
            raise StartError(str(error)) from None
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"The data directory {directory} cannot be used: {error}.") from None
        stack.push_async_callback(database.close)
        rate_limiter = RateLimiter(clock, enabled=config.rate_limits)
        authentication = Authentication(database, appservices, clock)
        accounts = Accounts(
            database, config.server_name, clock, Passwords(config.password_cost), appservices, authentication
        )
        logins = Logins(accounts, rate_limiter)
        services = Services(
            config=config,
            database=database,
            clock=clock,
            signing_key=signing_key,
            rate_limiter=rate_limiter,
            authentication=authentication,
            accounts=accounts,
            logins=logins,
            interactive_auth=InteractiveAuth(accounts, logins, clock),
            appservices=appservices,
            rooms=None,
        )
        for appservice in appservices:
            await accounts.ensure_sender(appservice)
        stack.push_async_callback(authentication.save_last_seen)
        saving = asyncio.create_task(_save_last_seen(authentication), name="save last seen")
        stack.push_async_callback(_cancel, saving)
        yield services


async def serve(config: HomeserverConfig) -> None:
    """Run the server until SIGTERM or SIGINT. Raises StartError."""
    runner = web.AppRunner(
        build_app(config), access_log=None, shutdown_timeout=SECONDS_TO_FINISH, keepalive_timeout=120.0
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await runner.setup()
        for listener in config.listeners:
            await _listen(runner, listener)
        await stop.wait()
        logger.info("stopping")
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, listener: str) -> None:
    host, port = listener_address(listener)
    try:
        site = web.TCPSite(runner, host, port, backlog=1024)
        await site.start()
    except OSError as error:
        raise StartError(
            f"Cannot listen on {listener}: {error.strerror or error}. Stop what uses it, or choose another"
            f' port with listeners = ["{host}:{port + 1}"] in [homeserver].'
        ) from None
    logger.info("listening on http://%s", listener)


def _lock(directory: Path) -> TextIO:
    """Keep a second server out of the data directory. Raises StartError, OSError."""
    if not directory.is_dir():
        raise StartError(
            f"The data directory {directory} does not exist; make it, or set data_directory in [homeserver]."
        )
    file = (directory / "lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise StartError(f"Another homeserver is running in {directory}.") from None
    return file


async def _save_last_seen(authentication: Authentication) -> None:
    while True:
        await asyncio.sleep(SAVE_LAST_SEEN_SECONDS)
        await authentication.save_last_seen()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
