"""A thousand devices on one gateway: what it takes by each door, how soon it is in a room, memory, and a year's chart.

`python -m bench gateway` (or `main()`). Broker, gateway and our homeserver are processes of their own; the devices are
simulated in this one. Rates stand beside what PyNaCl verifies in the same round. Next: bench/gateway_parts.py.
"""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from bench import gateway_parts as parts
from bench.measure import console, describe, machine, progress, save


@dataclass(frozen=True)
class Size:
    """How much of everything. Rates are of `each` envelopes of every device, `rounds` times."""

    devices: int = 1000
    each: int = 5
    rounds: int = 3
    readings_per_second: float = 20.0
    latency_seconds: float = 20.0
    memory: tuple[int, ...] = (100, 1000, 5000)
    year_minutes: int = 365 * 1440


def main() -> dict[str, float]:
    """Measure, print the tables, save them, and return the figures by name."""
    facts = machine()
    size = Size()
    figures = asyncio.run(measure(size))
    save("gateway", {"machine": facts, "size": vars(size), "figures": figures})
    _print(facts, size, figures)
    return figures


async def measure(size: Size) -> dict[str, float]:
    """Every figure by name: rates a second, seconds, 10^6 bytes."""
    figures: dict[str, float] = {}
    async with parts.prepared(size.devices, size.year_minutes) as rig:
        figures |= await _rates(rig, size)
        figures |= await parts.with_a_homeserver(rig, size.readings_per_second, size.latency_seconds)
    for number in size.memory:
        progress(f"gateway: memory with {number} devices")
        figures[f"memory.{number}"] = await parts.memory(number)
    least, most = size.memory[0], size.memory[-1]
    if most > least:
        grown = figures[f"memory.{most}"] - figures[f"memory.{least}"]
        figures["memory.per_thousand"] = grown / (most - least) * 1000
    progress("")
    return figures


async def _rates(rig: parts.Rig, size: Size) -> dict[str, float]:
    """Medians of the rounds; the doors take turns, and PyNaCl's rate is taken in each turn."""
    samples: dict[str, list[float]] = {}
    async with parts.every_door(rig) as doors:
        for number in range(size.rounds):
            for name, door in doors.items():
                progress(f"gateway: round {number + 1} of {size.rounds}: {name}")
                for key, value in (await parts.rate(rig, name, door, size.each)).items():
                    samples.setdefault(key, []).append(value)
    return {key: statistics.median(values) for key, values in samples.items()}


def _print(facts: dict[str, Any], size: Size, figures: dict[str, float]) -> None:
    doors = Table(title=f"{size.devices:,} devices on one gateway: to committed", title_justify="left")
    doors.add_column("door")
    for heading in ("envelopes/s", "PyNaCl alone/s", "of PyNaCl", "gateway's processor an envelope"):
        doors.add_column(heading, justify="right")
    for name in parts.DOORS:
        rate, verifies = figures[f"{name}.per_second"], figures[f"{name}.verifies"]
        doors.add_row(
            parts.DOORS[name],
            f"{rate:,.0f}",
            f"{verifies:,.0f}",
            f"{figures[f'{name}.of_verifies']:.0%}",
            f"{figures[f'{name}.processor'] * 1e6:,.0f} µs",
        )
    rest = Table(title="The rest of it", title_justify="left", show_header=False)
    for justify in ("left", "right", "left"):
        rest.add_column(justify=justify)
    rows = [
        (f"publish to waiting /sync, p50 (gathering {parts.SHORTEST_GATHERING:g} s)", "latency.p50", 1000, "ms"),
        ("publish to waiting /sync, p99", "latency.p99", 1000, "ms"),
        (f"publish to waiting /sync, p50 (gathering {parts.USUAL_GATHERING:g} s)", "latency_usual.p50", 1000, "ms"),
        ("publish to waiting /sync, p99", "latency_usual.p99", 1000, "ms"),
        *((f"memory with {number:,} devices, all heard", f"memory.{number}", 1, "MB") for number in size.memory),
        ("  for each thousand devices", "memory.per_thousand", 1, "MB"),
        ("chart over a year of minutes, asked for to picture in the room, first", "chart.cold", 1000, "ms"),
        ("  and again", "chart.warm", 1000, "ms"),
    ]
    for title, key, scale, unit in rows:
        rest.add_row(title, f"{figures[key] * scale:,.1f}", unit)
    out = console()
    out.print(doors)
    out.print(rest)
    out.print(
        f"{size.rounds} rounds of {size.devices * size.each:,} envelopes by each door, medians; latency at "
        f"{size.readings_per_second:g} readings/s. {describe(facts)}",
        highlight=False,
    )


if __name__ == "__main__":
    main()
