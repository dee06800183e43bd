"""The gateway's composition root: everything is built, started and stopped here.

May import everything in this package. `running` is used by `python -m thingroom_gateway`, by the command line and by
tests; the way of a reading is links/ -> ingest.py -> batching.py -> outbox.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, SchemaTooNew, Transaction
from thingroom_common.service_manager import ServiceManager
from thingroom_gateway.alerts.engine import Alerts
from thingroom_gateway.announce import Announcer
from thingroom_gateway.appservice import AppserviceClient
from thingroom_gateway.appservice_http import AppserviceHttp
from thingroom_gateway.batching import Batching, Limits
from thingroom_gateway.bot.conversation import Tools
from thingroom_gateway.bot.people import People
from thingroom_gateway.bot.worker import Bot
from thingroom_gateway.broker_access import AccessFiles, BrokerAccess
from thingroom_gateway.charts.process import ChartProcess
from thingroom_gateway.commands.command import Told
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.commands.texts import spoken
from thingroom_gateway.config import GatewayConfig, MqttConfig
from thingroom_gateway.control import Commands, ControlServer
from thingroom_gateway.counters import Counters
from thingroom_gateway.dashboard.parts import Parts as DashboardParts
from thingroom_gateway.dashboard.server import Dashboard
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.enrolment import Enrolment
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.gateway_keys import GatewayKeys, load_or_make_keys, load_or_make_password
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.coap import CoapLink
from thingroom_gateway.links.mqtt import MqttLink
from thingroom_gateway.links.mqtt_connection import Broker
from thingroom_gateway.links.plain_mqtt import PlainLink
from thingroom_gateway.links.serial import SerialLink
from thingroom_gateway.links.serial_console import Consoles
from thingroom_gateway.listening import check_listening
from thingroom_gateway.local_time import local_zone
from thingroom_gateway.metrics import READINGS, Metrics, open_metrics
from thingroom_gateway.observation import Observation
from thingroom_gateway.outbox import Outbox
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.plain.devices import PlainDevices
from thingroom_gateway.plain.dialects import DEFAULT_PREFIX, Listening
from thingroom_gateway.profiles import Profile, ProfileError, load_profiles
from thingroom_gateway.quotas import Quotas
from thingroom_gateway.registration import RegistrationError, load_registration
from thingroom_gateway.reload import Reload
from thingroom_gateway.reload_parts import Parts, connect
from thingroom_gateway.rooms import Home, Rooms
from thingroom_gateway.screen_events import ScreenEvents
from thingroom_gateway.series.upkeep import Upkeep
from thingroom_gateway.status import Overview
from thingroom_gateway.storage import received
from thingroom_gateway.storage.devices import load_devices
from thingroom_gateway.storage.schema import MIGRATIONS
from thingroom_gateway.storage.series import Recorder
from thingroom_gateway.storage.upgrade import copy_before_upgrade
from thingroom_gateway.updates.queue import Updates

logger = logging.getLogger(__name__)

HOUSEKEEPING_SECONDS = 5.0
PRUNE_EVENTS = 50
# How long a stop waits for what is under way; the supervisor and systemd wait longer.
FINISH_SECONDS = 4.0
# What was just settled is on its way out to the devices.
LINGER_SECONDS = 0.1
DAY_MS = 86_400_000
# Why a gateway does not start, and will not before somebody changes something; each message is one sentence.
CANNOT_START = (ConfigError, RegistrationError, ProfileError, SchemaTooNew, BlockingIOError)


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


@dataclass(frozen=True, slots=True)
class Core:
    """What works without any link: also for `enrol` while no gateway runs."""

    database: Database
    registry: Registry
    profiles: dict[str, Profile]
    keys: GatewayKeys
    enrolment: Enrolment
    pairing: Pairing
    counters: Counters
    access: BrokerAccess
    series: Recorder


@contextlib.asynccontextmanager
async def opened_core(config: GatewayConfig) -> AsyncIterator[Core]:
    """Open keys, database and registry. Raises OSError, sqlite3.Error, ProfileError, ValueError."""
    directory = config.directory
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys = load_or_make_keys(directory)
    own_profiles = Path(config.profile_directory) if config.profile_directory else None
    profiles = load_profiles(own=own_profiles, choices=config.units.choices)
    copy_before_upgrade(directory / "gateway.sqlite", MIGRATIONS)
    database = await Database.open(directory / "gateway.sqlite", MIGRATIONS)
    try:
        registry = Registry(database.read(load_devices), profiles)
        counters = database.read(Counters.load)
        enrolment = Enrolment(database, registry, profiles, keys, config.limits.devices, now_ms)
        pairing = Pairing(enrolment, keys, now_ms, time.monotonic)
        access = BrokerAccess(
            access_files(config.mqtt),
            config.mqtt.username,
            gateway_password(config),
            registry,
            pairing,
            plain_account(config),
        )
        enrolment.changed.append(lambda _device: access.refresh())
        pairing.changed.append(access.refresh)
        yield Core(database, registry, profiles, keys, enrolment, pairing, counters, access, Recorder(registry))
        with contextlib.suppress(sqlite3.Error):
            await counters.save(database)
    finally:
        await database.close()


def gateway_password(config: GatewayConfig) -> str:
    """The gateway's password at the broker: configured, or made once and kept in the data directory."""
    if config.mqtt.password:
        return config.mqtt.password
    config.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return load_or_make_password(config.directory / "broker_password")


def plain_account(config: GatewayConfig) -> tuple[str, str] | None:
    """User and password of plain MQTT devices at a broker that we manage; None if there is no use for them."""
    if not config.plain or not config.mqtt.password_file or config.plain_broker.host:
        return None
    config.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return config.plain_broker.account, load_or_make_password(config.directory / "plain_password")


def access_files(mqtt: MqttConfig) -> AccessFiles | None:
    """The files of a broker that we manage; None if it is somebody else's."""
    if not mqtt.password_file:
        return None
    acl = Path(mqtt.acl_file) if mqtt.acl_file else None
    return AccessFiles(Path(mqtt.password_file), acl, Path(mqtt.pid_file) if mqtt.pid_file else None)


@dataclass(frozen=True, slots=True)
class Gateway:
    """A gateway that runs, for whoever holds it: tests, the benchmark."""

    core: Core
    ingest: Ingest
    batching: Batching
    outbox: Outbox
    alerts: Alerts
    charts: ChartProcess
    reload: Reload
    serial: SerialLink
    mqtt: MqttLink | None
    coap: CoapLink | None
    plain: PlainDevices | None = None
    plain_link: PlainLink | None = None
    commands: CommandQueue | None = None
    dashboard: Dashboard | None = None
    updates: Updates | None = None


async def serve(config: GatewayConfig, events: EventsOut, read: Callable[[], GatewayConfig]) -> None:
    """Run until SIGTERM, SIGINT or the control command "stop"; a second signal ends it at once.

    SIGHUP has `read` read the configuration again.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _stop_or_end, stop)
    manager = ServiceManager(os.environ)
    async with running(config, events, stop, read) as gateway:

        def read_again() -> None:
            manager.reloading()
            gateway.reload.read_again()
            manager.ready("running")

        loop.add_signal_handler(signal.SIGHUP, read_again)
        manager.ready("running")
        alive = asyncio.create_task(manager.keep_alive())
        await stop.wait()
        alive.cancel()
        manager.stopping()
        logger.info("stopping")


@contextlib.asynccontextmanager
async def running(
    config: GatewayConfig,
    events: EventsOut,
    stop: asyncio.Event,
    read: Callable[[], GatewayConfig] | None = None,
) -> AsyncIterator[Gateway]:
    """Start everything, and stop it at the end. A part that dies of a bug ends the gateway with its exception.

    `stop` is set by the control command "stop"; whoever holds the gateway waits for it. `read` reads the configuration
    again; None: it is as it was. What restarting cannot cure is raised as one of CANNOT_START.
    """
    reload = Reload(config, read or (lambda: config))
    registration = load_registration(Path(config.registration_file))
    async with contextlib.AsyncExitStack() as stack:
        core = await stack.enter_async_context(opened_core(config))
        database, registry = core.database, core.registry
        home = Home(config.server_name, config.home_name, config.owner, registration.sender_localpart)
        client = AppserviceClient(config.homeserver_url, registration.as_token, config.homeserver.timeout_seconds)
        stack.push_async_callback(client.close)
        outbox = Outbox(
            database, client, Rooms(database, client, home), registry, home, now_ms, config.homeserver.retry_seconds
        )
        batch = config.batch
        zone = local_zone(config.timezone)
        announcer = Announcer(zone, frozenset(config.notices.live), round(config.notices.live_seconds * 1000), now_ms)
        batching = Batching(
            database, registry, Limits(batch.seconds, batch.envelopes, batch.bytes), announcer, now_ms, outbox.kick
        )
        limits = config.limits
        quotas = Quotas(limits.device_readings_per_second, limits.device_bytes_per_day, time.monotonic)
        ingest = Ingest(
            database,
            registry,
            core.pairing,
            core.counters,
            core.series,
            now_ms,
            config.mqtt.shards,
            limits.queue_frames,
            limits.queue_bytes,
            quotas,
        )
        screen = ScreenEvents(events, registry, database)
        alerts = Alerts(database, registry, home.owner, zone, now_ms, outbox.kick)
        await alerts.open()
        ingest.observed.append(alerts.seen)
        core.enrolment.changed.append(alerts.enrolled)
        ingest.watchers.append(batching.settled)
        outbox.watchers.append(batching.sent)
        if events.wanted:
            ingest.watchers.append(screen.settled)
            outbox.watchers.append(screen.sent)
            core.enrolment.changed.append(screen.enrolled)
        core.enrolment.changed.append(lambda _device: outbox.kick())
        commands = Commands(
            database, registry, core.enrolment, core.pairing, core.counters, core.keys, stop.set, outbox.kick
        )
        plain = plain_link = None
        if config.plain:
            listening = [Listening(one.dialect, one.prefix or DEFAULT_PREFIX[one.dialect]) for one in config.plain]
            plain = PlainDevices(
                database,
                registry,
                core.profiles,
                core.enrolment,
                core.counters,
                core.series,
                listening,
                now_ms,
                config.mqtt.shards,
            )
            plain.observed.append(alerts.seen)
            plain.stored.append(batching.one_stored)
            if events.wanted:
                plain.stored.append(screen.attested)
            plain_link = PlainLink(_plain_broker(config), plain, listening, core.counters)
            commands.plain = plain
        queue = CommandQueue(database, registry, core.keys, core.counters, config.commands, now_ms)
        ingest.commands = commands.queue = queue
        ingest.watchers.append(queue.settled)
        patience = config.updates.confirm_seconds
        updates = Updates(database, registry, core.keys, core.counters, queue, patience, now_ms, outbox.kick)
        ingest.examiner.updates = commands.updates = updates
        if plain is not None and plain_link is not None:
            queue.plain, queue.publish = plain, plain_link.send
            plain.observed.append(queue.observed)
        control = ControlServer(config.directory, commands.run)
        await control.open()
        stack.push_async_callback(control.close)
        charts = ChartProcess(config.directory / "matplotlib")
        stack.push_async_callback(charts.close)
        people = People(database, client, home, config.bot.change_level or None, time.monotonic)
        tools = Tools(
            database,
            registry,
            core.enrolment,
            core.pairing,
            home,
            people,
            alerts,
            charts,
            client,
            queue,
            announcer,
            zone,
            now_ms,
        )
        bot = Bot(tools, time.monotonic, outbox.kick)
        queue.told.append(partial(_answer_command, bot, registry))
        outbox.marking.append(bot.arrived)
        core.enrolment.changed.append(bot.enrolled)
        http = AppserviceHttp(
            config.appservice.host,
            config.appservice.port,
            registration.hs_token,
            database,
            registry,
            core.counters,
            home,
            now_ms,
            people.changed,
            bot.kick,
        )
        listen = config.appservice
        check_listening("the gateway", "gateway.appservice", listen.host, listen.port, socket.SOCK_STREAM)
        await http.open()
        stack.push_async_callback(http.close)
        overview = Overview(reload, registry, core.counters, core.pairing, ingest, alerts, http, now_ms)
        commands.overview, commands.reload = overview, reload
        client.watchers.append(overview.asked)
        ingest.observed.append(partial(_count_readings, core.counters))
        if plain is not None:
            plain.observed.append(partial(_count_readings, core.counters))
        if config.metrics_listener:
            metrics = Metrics(database, core.counters, ingest.missing.totals, overview.now, now_ms)
            client.watchers.append(metrics.asked)
            ingest.watchers.append(metrics.settled)
            bot.watchers.append(metrics.bot_asked)
            alerts.watchers.append(metrics.alert)
            stack.push_async_callback(await open_metrics(metrics, config.metrics_listener))
        core.access.refresh()
        coap = None
        if config.coap.enabled:
            check_listening("CoAP", "gateway.coap", config.coap.host, config.coap.port, socket.SOCK_DGRAM)
            coap = CoapLink(config.coap, ingest, registry, core.counters, database)
            coap.commands = lambda device: queue.attach(device) + updates.attach(device)
            queue.pushers["coap"] = coap.down.send
            core.enrolment.changed.append(coap.enrolled)
            await coap.open()
            ingest.observed.append(coap.latest.seen)
            if plain is not None:
                plain.observed.append(coap.latest.seen)
            stack.push_async_callback(coap.close)
        consoles = Consoles(config.directory / "serial", config.serial.console_bytes)
        stack.callback(consoles.close)
        serial = SerialLink(config.serial.ports, config.serial.baud, ingest, registry, core.counters, consoles)
        queue.pushers["serial"] = serial.send
        mqtt = None
        if config.mqtt.enabled:
            mqtt = MqttLink(_broker(config), ingest, registry, core.counters)
            queue.pushers["mqtt"] = mqtt.send
        upkeep = Upkeep(database, core.series, config.history, now_ms)
        connect(
            reload,
            Parts(
                core.profiles,
                registry,
                alerts,
                core.enrolment,
                ingest,
                quotas,
                batching,
                outbox,
                announcer,
                people,
                queue,
                upkeep,
                serial,
                coap,
            ),
        )
        overview.mqtt, overview.plain, overview.serial, overview.coap = mqtt, plain_link, serial, coap
        dashboard = None
        if config.dashboard.enabled:
            looked_at = DashboardParts(
                config, tools, core.counters, overview, queue, plain, core.profiles, outbox.kick, time.monotonic
            )
            dashboard = Dashboard(looked_at)
            stack.push_async_callback(dashboard.close)
            await dashboard.open()
            ingest.watchers.append(dashboard.rejections.settled)
            ingest.observed.append(dashboard.live.seen)
            if plain is not None:
                plain.observed.append(dashboard.live.seen)
            queue.watchers.append(dashboard.live.commanded)
            core.enrolment.changed.append(dashboard.live.enrolled)
            core.pairing.changed.append(dashboard.live.pairing_changed)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(ingest.run(), name="ingest"),
                group.create_task(batching.run(), name="batching"),
                group.create_task(queue.run(), name="commands"),
                group.create_task(updates.run(), name="updates"),
                group.create_task(alerts.run(), name="alerts"),
                group.create_task(bot.run(), name="bot"),
                group.create_task(outbox.run(), name="outbox"),
                group.create_task(serial.run(), name="serial"),
                group.create_task(_housekeeping(core, reload), name="housekeeping"),
                group.create_task(upkeep.run(), name="history"),
            ]
            if dashboard is not None:
                tasks.append(group.create_task(dashboard.run(), name="dashboard"))
            if mqtt is not None:
                mqtt.connected_watchers.append(screen.ready)
                tasks.append(group.create_task(mqtt.run(), name="mqtt"))
            if plain is not None and plain_link is not None:
                tasks.append(group.create_task(plain.run(), name="plain devices"))
                tasks.append(group.create_task(plain_link.run(), name="plain MQTT"))
            screen.listening(config)
            if mqtt is None:
                screen.ready()
            try:
                yield Gateway(
                    core,
                    ingest,
                    batching,
                    outbox,
                    alerts,
                    charts,
                    reload,
                    serial,
                    mqtt,
                    coap,
                    plain,
                    plain_link,
                    queue,
                    dashboard,
                    updates,
                )
                await _finish(ingest, outbox)
            finally:
                for task in tasks:
                    task.cancel()


def _stop_or_end(stop: asyncio.Event) -> None:
    """What was told to devices and people is on disk, so that an end is as good as a stop, but for those who wait."""
    if stop.is_set():
        logger.warning("told twice to stop, and stopping at once")
        os._exit(1)
    stop.set()


async def _finish(ingest: Ingest, outbox: Outbox) -> None:
    """What is under way comes to its end, within FINISH_SECONDS: messages that were taken, requests that were made."""
    try:
        async with asyncio.timeout(FINISH_SECONDS):
            if await ingest.finish():
                await asyncio.sleep(LINGER_SECONDS)
            await outbox.finish()
    except TimeoutError:
        logger.warning("what was under way is not done in %g s; devices and the outbox keep it", FINISH_SECONDS)


def _count_readings(counters: Counters, _device: Device, observation: Observation) -> None:
    counters.add(READINGS, len(observation.samples))


async def _housekeeping(core: Core, reload: Reload) -> None:
    """Save counters, close pairing in time, delete envelopes that are long in the room."""
    while True:
        await asyncio.sleep(HOUSEKEEPING_SECONDS)
        core.pairing.current()
        try:
            await core.counters.save(core.database)
            await _prune(core.database, now_ms() - reload.config.limits.keep_days * DAY_MS)
        except sqlite3.Error as error:
            logger.error("housekeeping: %s", error)


async def _prune(database: Database, before: int) -> None:
    while database.read(lambda connection: received.may_prune(connection, before)):
        await database.write(lambda transaction: received.prune(transaction, before, PRUNE_EVENTS))


def _plain_broker(config: GatewayConfig) -> Broker:
    """Where plain devices are: a broker of their own, or the one of signed readings, over a second connection."""
    own, usual = config.plain_broker, _broker(config)
    if not own.host:
        return replace(usual, client_id=f"{usual.client_id}-plain")
    context = ssl.create_default_context(cafile=own.ca_file or None) if own.tls else None
    return replace(
        usual,
        host=own.host,
        port=own.port,
        username=own.username,
        password=own.password,
        tls=context,
        client_id="thingroom-gateway-plain",
    )


def _answer_command(bot: Bot, registry: Registry, transaction: Transaction, told: Told) -> None:
    """Say in the room what came of a command that was asked for there; in the write that settles it."""
    command = told.command
    if command.event_id:
        device = registry.by_id(command.device)
        bot.tell(transaction, command.room_id, command.event_id, spoken(device.row.name, device.profile, told))


def _broker(config: GatewayConfig) -> Broker:
    mqtt = config.mqtt
    context = _tls(mqtt) if mqtt.tls else None
    return Broker(
        host=mqtt.host,
        port=mqtt.port,
        username=mqtt.username,
        password=gateway_password(config),
        protocol=mqtt.protocol,
        tls=context,
        client_id=f"thingroom-gateway-{''.join(sorted(set(mqtt.shards)))}",
        shards=mqtt.shards,
        window=mqtt.window,
    )


def _tls(mqtt: MqttConfig) -> ssl.SSLContext:
    """Raises ConfigError for certificates that cannot be used."""
    try:
        context = ssl.create_default_context(cafile=mqtt.ca_file or None)
    except OSError as error:
        raise ConfigError(f"the certificates in {mqtt.ca_file} ({error}): change ca_file in [gateway.mqtt].") from None
    if mqtt.cert_file:
        try:
            context.load_cert_chain(mqtt.cert_file, mqtt.key_file or None)
        except OSError as error:
            raise ConfigError(
                f"the gateway's certificate for the MQTT broker cannot be used ({error}): change cert_file and "
                "key_file in [gateway.mqtt]."
            ) from None
    return context
