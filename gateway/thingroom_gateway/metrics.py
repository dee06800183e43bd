"""What Prometheus reads of the gateway: counts and times as things happen, and what the parts know when it asks.

May import thingroom_common.metrics, prometheus_client (loaded when somebody looks), counters, storage.figures and the
parts' values. app.py makes it and the listener. Labels are words of our own, never names of devices, rooms or people.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from thingroom_common.addresses import host_and_port
from thingroom_common.database import Database
from thingroom_common.metrics import Times, metrics_app, prometheus_text
from thingroom_common.version import version
from thingroom_gateway.appservice import Asked
from thingroom_gateway.counters import Counters
from thingroom_gateway.ledger import Kind
from thingroom_gateway.listening import check_listening
from thingroom_gateway.outcomes import Frame, Outcome, Rejected
from thingroom_gateway.storage.figures import Figures, figures

if TYPE_CHECKING:
    from prometheus_client.core import Metric

_PREFIX: Final = "thingroom_gateway_"
TRANSPORTS: Final = ("mqtt", "coap", "serial", "plain")
# How a message from a device may end; the counters are called <transport>.<one of these>[.<reason>].
OUTCOMES: Final = ("accepted", "duplicate", "refused", "rejected", "greeted", "paired")
PRESENCES: Final = ("online", "asleep", "silent", "never_heard", "revoked")


@dataclass(frozen=True, slots=True)
class Now:
    """What the parts know of themselves at one moment; times are Unix ms."""

    devices: Mapping[str, int]
    brokers: Mapping[str, bool]
    serial_ports: int
    frames_waiting: int
    stalled: bool
    transactions: int


class Metrics:
    """Counts for as long as the process lives; `text` is what Prometheus gets."""

    def __init__(
        self,
        database: Database,
        counters: Counters,
        missing: Callable[[], Awaitable[Mapping[Kind, int]]],
        now: Callable[[], Now],
        now_ms: Callable[[], int],
    ) -> None:
        """`missing`: how many numbers of devices have not come, by why."""
        self._database = database
        self._counters = counters
        self._missing = missing
        self._now = now
        self._now_ms = now_ms
        self._ingest: dict[str, Times] = {}
        self._requests: Counter[tuple[str, str]] = Counter()
        self._request_seconds: dict[str, Times] = {}
        self._bot: Counter[tuple[str, str]] = Counter()
        self._alerts: Counter[tuple[str, str]] = Counter()
        self._process: Any = None

    def settled(self, settled: Sequence[tuple[Frame, Outcome]]) -> None:
        """Messages are on disk, or refused, and are answered. Those that are no reading of ours tell no times."""
        now = monotonic()
        for frame, outcome in settled:
            if type(outcome) is Rejected:
                continue
            times = self._ingest.get(frame.transport)
            if times is None:
                times = self._ingest[frame.transport] = Times()
            times.add(now - frame.arrived_at)

    def asked(self, asked: Asked) -> None:
        """A request to the homeserver is over."""
        self._requests[asked.kind, asked.outcome] += 1
        times = self._request_seconds.get(asked.kind)
        if times is None:
            times = self._request_seconds[asked.kind] = Times()
        times.add(asked.seconds)

    def bot_asked(self, kind: str, outcome: str) -> None:
        self._bot[kind, outcome] += 1

    def alert(self, kind: str, event: str) -> None:
        self._alerts[kind, event] += 1

    async def text(self) -> bytes:
        """All of it in Prometheus's text format. Raises sqlite3.Error."""
        known = await self._database.read_in_thread(figures)
        missing = _gauge("missing_messages", "Numbers of devices that have not arrived, by why.", None, "why")
        for why, number in (await self._missing()).items():
            missing.add_metric([why], number)
        return prometheus_text([*self._happened(), *self._stands(known, self._now()), missing, *self._own_process()])

    def _happened(self) -> Iterator[Metric]:
        counts = self._counters.all()
        messages = _counter("messages", "Messages from devices, by what became of them.", "transport outcome reason")
        commands = _counter("commands", "Commands to devices, by how far they came.", "outcome")
        others = _counter("events", "Other things that happened on the links and in the store.", "event")
        for name, number in counts.items():
            first, _, rest = name.partition(".")
            outcome, _, reason = rest.partition(".")
            if first in TRANSPORTS and outcome in OUTCOMES:
                messages.add_metric([first, outcome, reason], number)
            elif first == "commands":
                commands.add_metric([rest], number)
            elif name != READINGS:
                others.add_metric([name], number)
        yield from (messages, commands, others)
        yield _counter(
            "readings", "Values written to the history; one message may hold many.", "", counts.get(READINGS, 0)
        )
        ingest = _histogram(
            "ingest_seconds", "From the arrival of a device's message until it is on disk and answered.", "transport"
        )
        for transport, times in self._ingest.items():
            ingest.add_metric([transport], times.buckets(), times.total)
        yield ingest
        requests = _counter(
            "homeserver_requests", "Requests to the homeserver, by endpoint and outcome.", "kind outcome"
        )
        for key, number in self._requests.items():
            requests.add_metric(key, number)
        yield requests
        seconds = _histogram("homeserver_request_seconds", "How long requests to the homeserver took.", "kind")
        for kind, times in self._request_seconds.items():
            seconds.add_metric([kind], times.buckets(), times.total)
        yield seconds
        bot = _counter("bot_requests", "What people asked the bot, by kind and by what came of it.", "kind outcome")
        for key, number in self._bot.items():
            bot.add_metric(key, number)
        yield bot
        alerts = _counter("alerts", "Alerts that were raised and that ended, by the rule's kind.", "kind event")
        for key, number in self._alerts.items():
            alerts.add_metric(key, number)
        yield alerts

    def _stands(self, known: Figures, now: Now) -> Iterator[Metric]:
        oldest = known.outbox_oldest_queued_at
        age = 0.0 if oldest is None else max(0.0, (self._now_ms() - oldest) / 1000)
        yield _gauge("outbox_waiting", "Requests that wait for the homeserver.", known.outbox_waiting)
        yield _gauge("outbox_parked", "Requests that the homeserver refused for good.", known.outbox_parked)
        yield _gauge("outbox_oldest_age_seconds", "How long the oldest of them has waited.", age)
        yield _counter("transactions", "Transactions that the homeserver sent since the start.", "", now.transactions)
        yield _gauge("frames_waiting", "Messages from devices that wait to be looked at.", now.frames_waiting)
        yield _gauge("storage_stalled", "1 while nothing can be written to the database.", int(now.stalled))
        brokers = _gauge(
            "broker_connected", "1 while connected: to the broker of signed or of plain devices.", None, "link"
        )
        for link, up in now.brokers.items():
            brokers.add_metric([link], int(up))
        yield brokers
        yield _gauge("serial_ports_open", "Serial ports that are open.", now.serial_ports)
        devices = _gauge("devices", "Devices by presence.", None, "presence")
        for presence in PRESENCES:
            devices.add_metric([presence], now.devices.get(presence, 0))
        yield devices
        yield _gauge("rooms", "Rooms of places that the gateway made.", known.places)
        yield _gauge("gaps", "Gaps in what devices numbered.", known.gaps)
        yield _gauge("database_bytes", "Size of the database without its write-ahead log.", known.bytes)
        yield _counter("database_batches", "Commits; many writes share one.", "", self._database.batches_committed)
        yield _counter("database_writes", "Writes committed.", "", self._database.writes_committed)
        info = _gauge("info", "The gateway's version.", None, "version")
        info.add_metric([version()], 1)
        yield info

    def _own_process(self) -> Iterator[Metric]:
        """Prometheus's usual process_* metrics."""
        if self._process is None:
            from prometheus_client import ProcessCollector

            self._process = ProcessCollector(registry=None)
        yield from self._process.collect()


async def open_metrics(metrics: Metrics, address: str) -> Callable[[], Awaitable[None]]:
    """Answer GET /metrics at `address`; what is returned ends that. Raises ConfigError."""
    host, port = host_and_port(address, "metrics_listener")
    check_listening("the page for Prometheus", "gateway", host, port, socket.SOCK_STREAM, "metrics_listener")
    runner = web.AppRunner(metrics_app(metrics.text), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner.cleanup


# The counter of values written to the history.
READINGS: Final = "series.readings"


def _counter(name: str, meaning: str, labels: str, value: float | None = None) -> Any:
    from prometheus_client.core import CounterMetricFamily

    if labels:
        return CounterMetricFamily(_PREFIX + name, meaning, labels=labels.split())
    return CounterMetricFamily(_PREFIX + name, meaning, value=value)


def _gauge(name: str, meaning: str, value: float | None, labels: str = "") -> Any:
    from prometheus_client.core import GaugeMetricFamily

    if labels:
        return GaugeMetricFamily(_PREFIX + name, meaning, labels=labels.split())
    return GaugeMetricFamily(_PREFIX + name, meaning, value=value)


def _histogram(name: str, meaning: str, labels: str) -> Any:
    from prometheus_client.core import HistogramMetricFamily

    return HistogramMetricFamily(_PREFIX + name, meaning, labels=labels.split())
