"""What Prometheus reads, for every program: a histogram, the text, and the page.

May import prometheus_client (loaded when somebody looks) and aiohttp. A program keeps plain numbers and gives a
`collect` that turns them into prometheus_client's families.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Awaitable, Callable, Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    from prometheus_client.core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Times:
    """How many things took at most each of SECONDS, or longer; and how long all of them did."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(SECONDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        self.counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, int]]:
        """Upper limit and how many took at most that long, as HistogramMetricFamily wants them."""
        return list(zip((*map(str, SECONDS), "+Inf"), accumulate(self.counts), strict=True))


class _Collector:
    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def prometheus_text(families: Iterable[Metric]) -> bytes:
    """`families` in Prometheus's text format."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(list(families)))
    return generate_latest(registry)


def metrics_app(text: Callable[[], Awaitable[bytes]]) -> web.Application:
    """GET /metrics, answered with what `text` makes."""

    async def get_metrics(_request: web.Request) -> web.Response:
        return web.Response(body=await text(), headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.router.add_get("/metrics", get_metrics)
    return app
