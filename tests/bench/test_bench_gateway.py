"""The benchmark of many devices on one gateway, small: 200 devices through every door, into the rooms, a chart."""

from __future__ import annotations

from bench import gateway_parts as parts
from bench.gateway import Size, measure

SMALL = Size(
    devices=200,
    each=2,
    rounds=1,
    readings_per_second=60.0,
    latency_seconds=2.0,
    memory=(50,),
    year_minutes=3 * 1440,
)


async def test_two_hundred_devices_on_one_gateway() -> None:
    """`measure` itself raises where something that was sent does not arrive."""
    figures = await measure(SMALL)
    for door in parts.DOORS:
        assert figures[f"{door}.per_second"] > 0
        assert figures[f"{door}.of_verifies"] == figures[f"{door}.per_second"] / figures[f"{door}.verifies"]
    assert 0 < figures["latency.p50"] <= figures["latency.p99"]
    assert 0 < figures["latency_usual.p50"] <= figures["latency_usual.p99"]
    assert figures["chart.cold"] > 0 and figures["chart.warm"] > 0
    assert figures["memory.50"] > 0
