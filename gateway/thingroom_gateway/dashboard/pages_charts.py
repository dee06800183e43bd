"""What a quantity did over time: points for chart.js, and a PNG for those without scripts.

May import site, charts, parameters.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from thingroom_gateway.charts.chart import Chart, ChartPoint
from thingroom_gateway.charts.prepare import NoChart, Wanted, chart_of
from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.pages_devices import KID
from thingroom_gateway.dashboard.site import Site

MAX_NAME: Final = 64


class Points(msgspec.Struct, frozen=True, rename={"begin": "from", "end": "to"}):
    """A quantity from `begin` to `end` (Unix ms), in `unit` as people read it.

    `points` are [ts, least, mean, greatest], each for `resolution` ms from ts on (0: one reading); a boolean is 0 or 1.
    `gaps` are [from, to]: readings were expected and are not there.
    """

    quantity: str
    title: str
    unit: str
    kind: str
    words: dict[str, str]
    decimals: int
    timezone: str
    begin: int
    end: int
    resolution: int
    points: list[ChartPoint]
    gaps: list[tuple[int, int]]


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = ChartPages(site)
    return [
        web.get(f"/api/devices/{KID}/series", pages.points),
        web.get(f"/device/{KID}/chart.png", pages.picture),
    ]


class ChartPages:
    def __init__(self, site: Site) -> None:
        self._site = site

    async def points(self, request: web.Request) -> web.StreamResponse:
        quantity, chart = await self._chart(request)
        line = chart.series[0]
        digits = line.decimals + 2
        return self._site.data(
            Points(
                quantity=quantity,
                title=line.label,
                unit=line.unit,
                kind=line.kind,
                words=line.words,
                decimals=line.decimals,
                timezone=chart.timezone,
                begin=chart.from_ms,
                end=chart.to_ms,
                resolution=line.resolution_ms,
                points=[(ts, round(a, digits), round(b, digits), round(c, digits)) for ts, a, b, c in line.points],
                gaps=line.gaps,
            )
        )

    async def picture(self, request: web.Request) -> web.StreamResponse:
        _, chart = await self._chart(request)
        png = await self._site.tools.charts.render(chart)
        return web.Response(body=png, content_type="image/png")

    async def _chart(self, request: web.Request) -> tuple[str, Chart]:
        """Raises Bad, HTTPNotFound."""
        device = await self._site.device_of(request)
        quantity = parameters.text(request.query, "quantity", MAX_NAME)
        span = parameters.SPANS[parameters.span(request.query)]
        end = self._site.tools.now_ms()
        zone = self._site.tools.zone.key

        def read(connection: sqlite3.Connection) -> Chart | NoChart:
            return chart_of(connection, [Wanted(device, quantity)], end - span, end, zone)

        chart = await self._site.tools.database.read_in_thread(read)
        if isinstance(chart, NoChart):
            raise parameters.Bad(f"{chart.reason[:1].upper()}{chart.reason[1:]}.")
        return quantity, chart
