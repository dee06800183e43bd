"""What Prometheus reads: requests as they are answered, and what the parts know of themselves, asked when it comes.

May import prometheus_client and aiohttp. The frame counts requests; server.py makes the listener. Labels are endpoints,
never paths or names, so their number stays what the table of endpoints makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

UNKNOWN = "unknown"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# (name, what it is, whether it only grows, how much it is now for each value of its one label; no label: "")
Reading = tuple[str, str, bool, Callable[[], Iterable[tuple[str, float]]]]


class Metrics:
    """The counters of one server. `readings` are asked when somebody looks."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "thingroom_requests",
            "Requests answered, by endpoint and status.",
            ("method", "endpoint", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "thingroom_request_seconds",
            "How long requests took, by endpoint; a long poll waits on purpose.",
            ("method", "endpoint"),
            buckets=SECONDS,
            registry=self._registry,
        )
        self._registry.register(_Readings(tuple(readings)))

    def count_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """One request was answered."""
        self._requests.labels(method, endpoint, str(status)).inc()
        self._seconds.labels(method, endpoint).observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)


class _Readings(Collector):
    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self._readings = readings

    def collect(self) -> Iterator[Metric]:
        for name, meaning, grows, values in self._readings:
            family = (CounterMetricFamily if grows else GaugeMetricFamily)(name, meaning, labels=["name"])
            for label, value in values():
                family.add_metric([label], value)
            yield family

    def describe(self) -> list[Metric]:
        return []


def metrics_app(metrics: Metrics) -> web.Application:
    """GET /metrics."""

    async def get_metrics(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/metrics", get_metrics)
    return app
