"""What Prometheus reads: requests as they are answered, and what the parts know of themselves, asked when it comes.

May import thingroom_common.metrics, prometheus_client (loaded when somebody looks) and aiohttp. The frame counts
requests; server.py makes the listener. Labels are endpoints, never paths or names, so their number stays what the table
of endpoints makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from aiohttp import web

from thingroom_common.metrics import Times, prometheus_text
from thingroom_common.metrics import metrics_app as common_metrics_app

if TYPE_CHECKING:
    from prometheus_client.core import Metric

UNKNOWN = "unknown"

# (name, what it is, whether it only grows, how much it is now for each value of its one label; no label: "")
Reading = tuple[str, str, bool, Callable[[], Iterable[tuple[str, float]]]]


class Metrics:
    """The counters of one server, plain numbers until somebody looks. `readings` are asked then."""

    def __init__(self, readings: Iterable[Reading] = ()) -> None:
        self._readings = tuple(readings)
        self._requests: dict[tuple[str, str, str], int] = {}
        self._seconds: dict[tuple[str, str], Times] = {}

    def count_request(self, method: str, endpoint: str, status: int, seconds: float) -> None:
        """One request was answered."""
        key = (method, endpoint, str(status))
        self._requests[key] = self._requests.get(key, 0) + 1
        times = self._seconds.get((method, endpoint))
        if times is None:
            times = self._seconds[method, endpoint] = Times()
        times.add(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return prometheus_text(self.collect())

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
            seconds.add_metric(labels, times.buckets(), times.total)
        yield seconds
        for name, meaning, grows, values in self._readings:
            family = (CounterMetricFamily if grows else GaugeMetricFamily)(name, meaning, labels=["name"])
            for label, value in values():
                family.add_metric([label], value)
            yield family


def metrics_app(metrics: Metrics) -> web.Application:
    """GET /metrics."""

    async def text() -> bytes:
        return metrics.text()

    return common_metrics_app(text)
