"""What Prometheus reads: requests as they are answered, and what the parts know of themselves, asked when it comes.

May import prometheus_client (loaded when somebody looks) and aiohttp. The frame counts requests; server.py makes the
listener. Labels are endpoints, never paths or names, so their number stays what the table of endpoints makes it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from prometheus_client.core import Metric

UNKNOWN = "unknown"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

# (name, what it is, whether it only grows, how much it is now for each value of its one label; no label: "")
Reading = tuple[str, str, bool, Callable[[], Iterable[tuple[str, float]]]]


class _Times:
    """How many requests of an endpoint took at most each of SECONDS, or longer; and how long all of them did."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0


class Metrics:
    """The counters of one server, plain numbers until somebody looks. `readings` are asked then."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._readings = tuple(readings)
        self._requests: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[tuple[str, str], _Times] = {}

    def count_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (method, endpoint, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._seconds.get((method, endpoint))
        if times is None:
            times = self._seconds[method, endpoint] = _Times()
        times.counts[bisect_left(SECONDS, seconds)] += 1
        times.total += seconds

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def describe(self) -> list[Metric]:
        """None that can be told beforehand; prometheus_client asks."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Everything, in prometheus_client's terms."""
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily(
            "thingroom_requests",
            "Requests answered, by endpoint and status.",
            labels=("method", "endpoint", "status"),
        )
        for key, count in self._requests.items():
            requests.add_metric(key, count)
        yield requests
        seconds = HistogramMetricFamily(
            "thingroom_request_seconds",
            "How long requests took, by endpoint; a long poll waits on purpose.",
            labels=("method", "endpoint"),
        )
        for labels, times in self._seconds.items():
            buckets = zip((*map(str, SECONDS), "+Inf"), accumulate(times.counts), strict=True)
            seconds.add_metric(labels, list(buckets), times.total)
        yield seconds
        for name, meaning, grows, values in self._readings:
            family = (CounterMetricFamily if grows else GaugeMetricFamily)(name, meaning, labels=["name"])
            for label, value in values():
                family.add_metric([label], value)
            yield family


def metrics_app(metrics: Metrics) -> web.Application:
    """GET /metrics."""

    async def get_metrics(request: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", get_metrics)
    return app
