"""The composition root: the one place where the homeserver's parts are made and handed to each other.

May import everything. `serve` runs until it is told to stop; `build_app` is the same server without the sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import resource
import signal
import sqlite3
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TextIO

import aiohttp
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew
from thingroom_common.service_manager import ServiceManager
from thingroom_homeserver.accounts.account_data import AccountData
from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.addresses import Addresses
from thingroom_homeserver.accounts.appservices import load_appservices
from thingroom_homeserver.accounts.bindings import Bindings
from thingroom_homeserver.accounts.directory import Directory
from thingroom_homeserver.accounts.external_ids import ExternalIds
from thingroom_homeserver.accounts.filters import Filters
from thingroom_homeserver.accounts.mailer import SmtpMailer
from thingroom_homeserver.accounts.nonces import Nonces
from thingroom_homeserver.accounts.passwords import Passwords
from thingroom_homeserver.accounts.presence import Presence
from thingroom_homeserver.accounts.profiles import Profiles
from thingroom_homeserver.accounts.receipts import Receipts
from thingroom_homeserver.accounts.refreshing import Refreshing
from thingroom_homeserver.accounts.registration_tokens import RegistrationTokens
from thingroom_homeserver.accounts.short_tokens import ShortTokens
from thingroom_homeserver.accounts.standing import Standing
from thingroom_homeserver.accounts.typing import Typing
from thingroom_homeserver.appservice_api import ping
from thingroom_homeserver.appservice_api.deliveries import delivering
from thingroom_homeserver.appservice_api.delivery import Delivery
from thingroom_homeserver.appservice_api.extras import ExtrasSource
from thingroom_homeserver.appservice_api.http_client import AppServiceClient
from thingroom_homeserver.appservice_api.queries import Queries
from thingroom_homeserver.appservice_api.third_party import ThirdParty
from thingroom_homeserver.client_api import (
    account_endpoints,
    encryption_endpoints,
    health,
    media_endpoints,
    push_endpoints,
    room_endpoints,
    room_more_endpoints,
    session_endpoints,
    sliding_sync,
    well_known,
)
from thingroom_homeserver.client_api.leaving import leave_everywhere
from thingroom_homeserver.client_api.single_sign_on_state import SingleSignOn
from thingroom_homeserver.clock import Clock, SystemClock
from thingroom_homeserver.config import HomeserverConfig, Listener, listener_address, listeners_of
from thingroom_homeserver.encryption.cross_signing import CrossSigning
from thingroom_homeserver.encryption.device_keys import DeviceKeys
from thingroom_homeserver.encryption.device_lists import DeviceLists
from thingroom_homeserver.encryption.key_backup import KeyBackups
from thingroom_homeserver.encryption.to_device import ToDevice
from thingroom_homeserver.federation.discovery import Names
from thingroom_homeserver.federation.local_parts import LocalParts
from thingroom_homeserver.federation.service import opened_federation
from thingroom_homeserver.federation_api import endpoints as federation_endpoints
from thingroom_homeserver.http.authentication import Authentication
from thingroom_homeserver.http.endpoint import Endpoint, Response
from thingroom_homeserver.http.frame import Frame
from thingroom_homeserver.http.interactive_auth import InteractiveAuth
from thingroom_homeserver.http.logins import Logins
from thingroom_homeserver.http.protocol import MatrixRunner, matrix_app
from thingroom_homeserver.http.rate_limit import RateLimiter
from thingroom_homeserver.media.opening import opened_media
from thingroom_homeserver.metrics import Metrics, metrics_app
from thingroom_homeserver.outgoing.guard import Guard, guarded_connector
from thingroom_homeserver.outgoing.identity_server import IdentityServers
from thingroom_homeserver.outgoing.tls import outgoing_tls
from thingroom_homeserver.push.delivery import Patience
from thingroom_homeserver.push.service import Push
from thingroom_homeserver.readings import readings
from thingroom_homeserver.rooms.context import open_rooms
from thingroom_homeserver.rooms.ports import Profile
from thingroom_homeserver.rooms.search_indexing import keep_indexed
from thingroom_homeserver.rooms.tidying import keep_tidy
from thingroom_homeserver.services import Services
from thingroom_homeserver.signing_key_file import load_old, load_or_make
from thingroom_homeserver.sliding.connections import Connections
from thingroom_homeserver.sliding.ports import SlidingSources
from thingroom_homeserver.sliding.user_rooms import RoomLists
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.storage.standing import TRY_AGAIN
from thingroom_homeserver.sync.request import SyncSources

logger = logging.getLogger(__name__)

DATABASE_NAME = "homeserver.db"
SECONDS_TO_FINISH = 2.0
SAVE_LAST_SEEN_SECONDS = 60.0
MAX_FILES = 65_536

SERVICES: web.AppKey[Services] = web.AppKey("services", Services)


class StartError(Exception):
    """The server cannot start; the message is one sentence for the person who started it."""


ENDPOINTS: tuple[Endpoint, ...] = (
    *account_endpoints.ENDPOINTS,
    *session_endpoints.ENDPOINTS,
    *room_endpoints.ENDPOINTS,
    *sliding_sync.ENDPOINTS,
    *encryption_endpoints.ENDPOINTS,
    *push_endpoints.ENDPOINTS,
    *ping.ENDPOINTS,
    *media_endpoints.ENDPOINTS,
    *room_more_endpoints.ENDPOINTS,
    *well_known.FOR_SERVERS,
    *health.ENDPOINTS,
)
"""Everything that clients and application services are answered to."""

FEDERATION_ENDPOINTS: tuple[Endpoint, ...] = (
    *federation_endpoints.ENDPOINTS,
    *well_known.FOR_SERVERS,
    *health.ENDPOINTS,
)
"""Everything that other homeservers are answered to."""


def endpoints_for(listener: Listener) -> tuple[Endpoint, ...]:
    """What is answered at a listener."""
    served = (*(ENDPOINTS if "client" in listener.serves else ()),)
    if "federation" in listener.serves:
        served += tuple(endpoint for endpoint in FEDERATION_ENDPOINTS if endpoint not in served)
    return served


def build_app(
    config: HomeserverConfig,
    *,
    clock: Clock | None = None,
    endpoints: Iterable[Endpoint] = ENDPOINTS,
    names: Names | None = None,
) -> web.Application:
    """The server as an aiohttp application: parts are made when it starts (StartError) and closed when it ends.

    While it runs, `app[SERVICES]` holds them.
    """
    frames: list[Frame] = []

    async def run(app: web.Application) -> AsyncIterator[None]:
        async with running_services(config, clock or SystemClock(), names) as services:
            app[SERVICES] = services
            frames.append(Frame(endpoints, services))
            yield

    async def release_long_polls(app: web.Application) -> None:
        app[SERVICES].notifier.close()
        app[SERVICES].media.close()

    async def handle(http: web.Request) -> Response:
        return await frames[0].handle(http)

    app = matrix_app(handle, config.max_body_bytes)
    app.cleanup_ctx.append(run)
    app.on_shutdown.append(release_long_polls)
    return app


@contextlib.asynccontextmanager
async def running_services(
    config: HomeserverConfig, clock: Clock, names: Names | None = None
) -> AsyncIterator[Services]:
    """Open the data directory and make the parts. Raises StartError.

    `names`: what resolves the names of other servers, instead of the domain name system.
    """
    folder = Path(config.data_directory)
    async with contextlib.AsyncExitStack() as stack:
        try:
            stack.callback(lock(folder).close)
            signing_key = load_or_make(folder)
            old_keys = load_old(folder)
            appservices = load_appservices(config.appservice_files, config.server_name)
            tls = outgoing_tls(config.outgoing_ca_file)
            database = await Database.open(folder / DATABASE_NAME, MIGRATIONS)
        except (ConfigError, SchemaTooNew) as error:
            raise StartError(str(error)) from None
        except (OSError, sqlite3.Error) as error:
            raise StartError(f"The data directory {folder} cannot be used: {error}.") from None
        stack.push_async_callback(database.close)
        rate_limiter = RateLimiter(clock, enabled=config.rate_limits)
        authentication = Authentication(database, appservices, clock, config.admin_users)
        profiles = Profiles(database, config.server_name)
        directory = Directory(database, config.server_name, appservices)
        push = Push(database, clock)
        rooms = open_rooms(
            server_name=config.server_name,
            default_room_version=config.default_room_version,
            signing_key=signing_key,
            database=database,
            clock=clock,
            profiles=_MemberProfiles(profiles),
            aliases=directory,
            watcher=push.recorder,
        )
        account_data = AccountData(database, rooms.notifier)
        device_lists = DeviceLists(rooms.occupancy, rooms.notifier)
        account_data.add_watcher(push.recorder.account_data_changed)
        accounts = Accounts(
            database,
            config.server_name,
            clock,
            Passwords(config.password_cost),
            appservices,
            account_data,
            authentication,
            device_lists,
            config.token_lifetimes,
        )
        registration_tokens = RegistrationTokens(database, clock)
        mailer = SmtpMailer(config.email) if config.email.host else None
        addresses = Addresses(database, clock, mailer, config.public_base_url, config.server_name)
        external_ids = ExternalIds(database, accounts, config.cas)
        standing = Standing(database, authentication)
        logins = Logins(accounts, rate_limiter)
        receipts = Receipts(database, rooms.notifier, account_data, clock, push.read_up_to)
        typing = Typing(rooms.notifier, clock)
        stack.callback(typing.close)
        presence = Presence(
            database, rooms.notifier, rooms.occupancy, clock, config.server_name, enabled=config.presence
        )
        device_keys = DeviceKeys(database, device_lists)
        to_device = ToDevice(database, rooms.notifier, clock)
        cross_signing = CrossSigning(database, device_lists)
        local = LocalParts(
            receipts=receipts,
            typing=typing,
            presence=presence,
            to_device=to_device,
            device_lists=device_lists,
            cross_signing=cross_signing,
        )
        federation = await stack.enter_async_context(
            opened_federation(
                config, database, clock, rooms, local, rate_limiter, signing_key, old_keys, tls=tls, names=names
            )
        )
        media = await stack.enter_async_context(opened_media(config, database, clock, federation.media, tls))
        connector = aiohttp.TCPConnector(ssl=tls if tls is not None else True)
        http = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        appservice_client = AppServiceClient(http)
        guard = Guard(config.outgoing_permitted_ranges)
        by_users = aiohttp.ClientSession(
            connector=guarded_connector(guard, tls=tls), cookie_jar=aiohttp.DummyCookieJar()
        )
        await stack.enter_async_context(by_users)
        identity_servers = IdentityServers(by_users, config.identity_servers, config.server_name, signing_key)
        services = Services(
            config=config,
            database=database,
            clock=clock,
            metrics=Metrics(readings(database, rooms.notifier, appservices, federation)),
            signing_key=signing_key,
            rate_limiter=rate_limiter,
            authentication=authentication,
            accounts=accounts,
            logins=logins,
            interactive_auth=InteractiveAuth(
                accounts, logins, clock, rate_limiter, registration_tokens, addresses, external_ids
            ),
            refreshing=Refreshing(database, clock, config.token_lifetimes, authentication),
            short_tokens=ShortTokens(database, clock),
            registration_tokens=registration_tokens,
            addresses=addresses,
            external_ids=external_ids,
            identity_servers=identity_servers,
            bindings=Bindings(database, identity_servers),
            standing=standing,
            single_sign_on=SingleSignOn(config, clock, http),
            nonces=Nonces(clock),
            appservices=appservices,
            appservice_client=appservice_client,
            queries=Queries(appservices, appservice_client, accounts, directory),
            third_party=ThirdParty(appservices, appservice_client, clock),
            profiles=profiles,
            directory=directory,
            filters=Filters(database),
            rooms=rooms,
            federation=federation,
            notifier=rooms.notifier,
            account_data=account_data,
            receipts=receipts,
            typing=typing,
            presence=presence,
            device_keys=device_keys,
            media=media.repository,
            thumbnails=media.thumbnails,
            previews=media.previews,
            legacy_media=media.legacy,
            device_lists=device_lists,
            cross_signing=cross_signing,
            to_device=to_device,
            key_backups=KeyBackups(database),
            push=push,
            sync=SyncSources(
                rooms, account_data, receipts, typing, device_keys, to_device, device_lists, push.unread, presence
            ),
            sliding=SlidingSources(
                rooms,
                account_data,
                receipts,
                typing,
                device_keys,
                RoomLists(rooms, account_data),
                Connections(database, clock),
                to_device,
                device_lists,
                push.unread,
            ),
        )
        for appservice in appservices:
            await accounts.ensure_sender(appservice)
        await stack.enter_async_context(delivering(_deliveries(services), rooms.notifier))
        acts: dict[str, Callable[[str], Awaitable[None]]] = {
            "deactivated": partial(leave_everywhere, services=services),
            TRY_AGAIN: federation.try_again,
        }
        await standing.catch_up(acts)
        keeping_up = asyncio.create_task(standing.keep_up(acts), name="changes by commands")
        stack.push_async_callback(_cancel, keeping_up)
        gateways = guarded_connector(guard, tls=tls)
        await stack.enter_async_context(push.running(rooms, directory.aliases_of, gateways, Patience(), mailer))
        stack.push_async_callback(authentication.save_last_seen)
        saving = asyncio.create_task(_save_last_seen(authentication), name="save last seen")
        stack.push_async_callback(_cancel, saving)
        stack.push_async_callback(_cancel, asyncio.create_task(keep_tidy(rooms), name="forget transaction ids"))
        stack.push_async_callback(presence.settled)
        stack.push_async_callback(_cancel, asyncio.create_task(presence.run(), name="sweep presence"))
        stack.push_async_callback(_cancel, asyncio.create_task(keep_indexed(rooms), name="search index"))
        yield services


def _deliveries(services: Services) -> list[Delivery]:
    """One for each application service that has a URL."""
    deliveries = []
    for appservice in services.appservices:
        if appservice.url is not None:
            delivery = Delivery(
                appservice,
                services.appservice_client,
                services.database,
                services.rooms,
                services.directory.aliases_of,
                services.clock,
                ExtrasSource(appservice, services.typing, services.presence, services.device_keys),
            )
            services.appservices.on_request(appservice.id, delivery.heard_from)
            deliveries.append(delivery)
    return deliveries


class _MemberProfiles:
    """The `Profiles` port of the rooms, out of the table of profiles."""

    def __init__(self, profiles: Profiles) -> None:
        self._profiles = profiles

    def profile_of(self, connection: Reader, user_id: str) -> Profile:
        return Profile(**self._profiles.member_fields(connection, user_id))


class NotTheirFault(logging.Filter):
    """Keeps out of the log what a stranger can cause at will: requests that are not HTTP, connections that break."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        return not isinstance(error, HttpProcessingError | ConnectionError | web.RequestPayloadError)


def allow_many_files() -> None:
    """Raise the soft limit of open files: each server that is talked to holds a connection, and each client too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):  # it goes on with fewer
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


async def serve(config: HomeserverConfig) -> None:
    """Run the server until SIGTERM or SIGINT; SIGHUP reads the certificates again. Raises StartError."""
    logging.getLogger("aiohttp.server").addFilter(NotTheirFault())
    allow_many_files()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    manager = ServiceManager(os.environ)
    async with running_services(config, SystemClock()) as services, contextlib.AsyncExitStack() as stack:
        certificates = []
        for listener in listeners_of(config):
            app = matrix_app(Frame(endpoints_for(listener), services).handle, config.max_body_bytes)
            tls = _tls_of(listener)
            if tls is not None:
                certificates.append((tls, listener))
            await _listen(stack, app, listener.address, "listeners", tls)
        if config.metrics_listener:
            await _listen(stack, metrics_app(services.metrics), config.metrics_listener, "metrics_listener", None)
        loop.add_signal_handler(signal.SIGHUP, _read_again, certificates)
        stack.callback(services.notifier.close)
        manager.ready(f"serves {config.server_name}")
        alive = asyncio.create_task(manager.keep_alive())
        stack.callback(alive.cancel)
        await stop.wait()
        manager.stopping()
        logger.info("stopping")


async def _listen(
    stack: contextlib.AsyncExitStack, app: web.Application, address: str, key: str, tls: ssl.SSLContext | None
) -> None:
    """Answer at `address` until the stack unwinds. Raises StartError."""
    host, port = listener_address(address, key)
    runner = MatrixRunner(app, seconds_to_finish=SECONDS_TO_FINISH)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    try:
        site = web.TCPSite(runner, host, port, backlog=1024, ssl_context=tls)
        await site.start()
    except OSError as error:
        choice = f'listeners = ["{host}:{port + 1}"]' if key == "listeners" else f'{key} = "{host}:{port + 1}"'
        raise StartError(
            f"Cannot listen on {address}: {error.strerror or error}. Stop what uses it, or choose another"
            f" port with {choice} in [homeserver]."
        ) from None
    logger.info("listening on %s://%s", "https" if tls else "http", address)


def _tls_of(listener: Listener) -> ssl.SSLContext | None:
    """Raises StartError."""
    if not listener.tls_certificate:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(listener.tls_certificate, listener.tls_key)
    except (OSError, ssl.SSLError) as error:
        raise StartError(
            f"The certificate {listener.tls_certificate} with the key {listener.tls_key} cannot be used: {error}."
        ) from None
    return context


def _read_again(certificates: Iterable[tuple[ssl.SSLContext, Listener]]) -> None:
    """A certificate was renewed: new connections get the new one, and a bad one changes nothing."""
    for context, listener in certificates:
        try:
            if _tls_of(listener) is not None:
                context.load_cert_chain(listener.tls_certificate, listener.tls_key)
        except (StartError, OSError) as error:
            logger.error("%s", error)
        else:
            logger.info("read the certificate %s again", listener.tls_certificate)


def lock(directory: Path) -> TextIO:
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
