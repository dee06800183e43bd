"""How a gateway is: of one that runs what its parts know, of one that does not what its database says.

Data in, a `Status` out; nothing is printed or judged here. May import the parts that app.py builds. control.py answers
with it, `thingroom status` shows it, metrics.py takes `Overview.now`.
"""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

import msgspec

from thingroom_common.database import Database
from thingroom_common.version import version
from thingroom_gateway.alerts.engine import Alerts
from thingroom_gateway.appservice import Asked
from thingroom_gateway.appservice_http import AppserviceHttp
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import ACTIVE, Registry
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.coap import CoapLink
from thingroom_gateway.links.mqtt import MqttLink
from thingroom_gateway.links.plain_mqtt import PlainLink
from thingroom_gateway.links.serial import SerialLink
from thingroom_gateway.metrics import Now
from thingroom_gateway.pairing import Pairing
from thingroom_gateway.reload import Reload
from thingroom_gateway.series.stored import DATABASE, open_read_only
from thingroom_gateway.storage import alerts as alert_store
from thingroom_gateway.storage.figures import Figures, counters_read, figures

# So many devices are named; the others are counted.
MAX_NAMED: Final = 10
# The last word of a counter that says that somebody asked for more than their share.
QUOTA_WORDS: Final = ("too_many", "too_often", "no_room", "busy", "over_quota", "too_many_devices")


class Broker(msgspec.Struct, frozen=True, kw_only=True):
    """One connection to an MQTT broker; `devices` is "signed" or "plain"."""

    devices: str
    address: str
    connected: bool


class Homeserver(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway's requests to its homeserver came to. Times in Unix ms, 0: never since the start."""

    url: str
    last_ok_at: int = 0
    last_failed_at: int = 0
    why: str = ""
    last_transaction_at: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything at one moment, times in Unix ms. Where no gateway runs, `running` is false and links are empty."""

    running: bool
    version: str
    server_name: str
    directory: str
    started_at: int = 0
    homeserver: Homeserver
    brokers: tuple[Broker, ...] = ()
    coap: str = ""
    serial_wanted: tuple[str, ...] = ()
    serial_open: tuple[str, ...] = ()
    pairing_open: bool = False
    devices: dict[str, int] = {}
    silent: tuple[str, ...] = ()
    rooms: int = 0
    outbox_waiting: int = 0
    outbox_parked: int = 0
    outbox_oldest_at: int | None = None
    gaps: int = 0
    missing: dict[str, int] = {}
    rejected: dict[str, int] = {}
    quotas: dict[str, int] = {}
    stalled: bool = False
    database_bytes: int = 0
    disk_free: int = 0
    disk_total: int = 0
    needs_restart: tuple[str, ...] = ()


class Overview:
    """A gateway that runs, seen as a whole."""

    def __init__(
        self,
        reload: Reload,
        registry: Registry,
        counters: Counters,
        pairing: Pairing,
        ingest: Ingest,
        alerts: Alerts,
        http: AppserviceHttp,
        now_ms: Callable[[], int],
    ) -> None:
        self._reload = reload
        self._registry = registry
        self._counters = counters
        self._pairing = pairing
        self._ingest = ingest
        self._alerts = alerts
        self._http = http
        self._now_ms = now_ms
        self._started_at = now_ms()
        self._last_ok_at = self._last_failed_at = 0
        self._why = ""
        # Set by the composition root where there are such links.
        self.mqtt: MqttLink | None = None
        self.plain: PlainLink | None = None
        self.serial: SerialLink | None = None
        self.coap: CoapLink | None = None

    def asked(self, asked: Asked) -> None:
        """A request to the homeserver is over. One that it refuses was heard all the same."""
        if asked.outcome == "failed":
            self._last_failed_at, self._why = self._now_ms(), asked.why
        else:
            self._last_ok_at = self._now_ms()

    def now(self) -> Now:
        return Now(
            devices=self._presences(),
            brokers={broker.devices: broker.connected for broker in self._brokers()},
            serial_ports=len(self.serial.open_ports) if self.serial else 0,
            frames_waiting=self._ingest.frames_waiting,
            stalled=self._ingest.stalled,
            transactions=self._http.transactions,
        )

    async def status(self, database: Database) -> Status:
        """Raises sqlite3.Error."""
        config = self._reload.config
        known, read = await database.read_in_thread(lambda connection: (figures(connection), counters_read(connection)))
        missing = {why: number for why, number in (await self._ingest.missing.totals()).items() if number}
        silent = [d.row.name for d in self._registry if d.row.status == ACTIVE and self._is_silent(d.row.id)]
        return _status(
            config,
            known,
            news(self._counters.all(), read),
            running=True,
            started_at=self._started_at,
            homeserver=Homeserver(
                url=config.homeserver_url,
                last_ok_at=self._last_ok_at,
                last_failed_at=self._last_failed_at,
                why=self._why,
                last_transaction_at=self._http.last_transaction_at,
            ),
            brokers=tuple(self._brokers()),
            coap=f"{config.coap.host}:{config.coap.port}" if self.coap else "",
            serial_wanted=config.serial.ports,
            serial_open=tuple(self.serial.open_ports) if self.serial else (),
            pairing_open=self._pairing.current() is not None,
            missing=missing,
            devices=self._presences(),
            silent=tuple(sorted(silent)[:MAX_NAMED]),
            stalled=self._ingest.stalled,
            needs_restart=self._reload.needs_restart,
        )

    def _brokers(self) -> Iterable[Broker]:
        mqtt, own = self._reload.config.mqtt, self._reload.config.plain_broker
        if self.mqtt is not None:
            yield Broker(devices="signed", address=f"{mqtt.host}:{mqtt.port}", connected=self.mqtt.connected.is_set())
        if self.plain is not None:
            host, port = (own.host, own.port) if own.host else (mqtt.host, mqtt.port)
            yield Broker(devices="plain", address=f"{host}:{port}", connected=self.plain.connected.is_set())

    def _presences(self) -> dict[str, int]:
        return dict(
            Counter(
                (self._alerts.presence(device.row.id) or "never_heard") if device.row.status == ACTIVE else "revoked"
                for device in self._registry
            )
        )

    def _is_silent(self, device: int) -> bool:
        return self._alerts.presence(device) == "silent"


def stored_status(config: GatewayConfig) -> Status | None:
    """What the database of a gateway that does not run says; None if there is none. Raises sqlite3.Error."""
    path = config.directory / DATABASE
    if not path.is_file():
        return None
    with contextlib.closing(open_read_only(path)) as connection:
        connection.execute("BEGIN")
        if connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'counters_read'").fetchone() is None:
            # Of an earlier version: what it says is told once it is brought along.
            return Status(
                running=False,
                version=version(),
                server_name=config.server_name,
                directory=config.data_directory,
                homeserver=Homeserver(url=config.homeserver_url),
            )
        counts = {row[0]: row[1] for row in connection.execute("SELECT name, value FROM counters")}
        presences = alert_store.presences(connection)
        devices = Counter(
            (presences.get(row[0]) or "never_heard") if row[1] == ACTIVE else "revoked"
            for row in connection.execute("SELECT id, status FROM devices")
        )
        return _status(
            config,
            figures(connection),
            news(counts, counters_read(connection)),
            running=False,
            homeserver=Homeserver(url=config.homeserver_url),
            serial_wanted=config.serial.ports,
            devices=dict(devices),
        )


def news(counts: Mapping[str, int], read: Mapping[str, int]) -> tuple[dict[str, int], dict[str, int]]:
    """What was rejected, and by which limits, since a person looked last; by counter, without what has not grown."""
    grown = {name: number - read.get(name, 0) for name, number in counts.items() if number > read.get(name, 0)}
    quotas = {name: number for name, number in grown.items() if any(word in name for word in QUOTA_WORDS)}
    rejected = {
        name: number
        for name, number in grown.items()
        if name not in quotas and name.split(".")[1:2] in (["rejected"], ["refused"])
    }
    return rejected, quotas


def _status(
    config: GatewayConfig, known: Figures, grown: tuple[dict[str, int], dict[str, int]], **more: object
) -> Status:
    disk = shutil.disk_usage(Path(config.data_directory))
    fields: dict[str, object] = {
        "version": version(),
        "server_name": config.server_name,
        "directory": config.data_directory,
        "rooms": known.places,
        "outbox_waiting": known.outbox_waiting,
        "outbox_parked": known.outbox_parked,
        "outbox_oldest_at": known.outbox_oldest_queued_at,
        "gaps": known.gaps,
        "rejected": grown[0],
        "quotas": grown[1],
        "database_bytes": known.bytes,
        "disk_free": disk.free,
        "disk_total": disk.total,
    }
    return Status(**{**fields, **more})  # type: ignore[arg-type]
