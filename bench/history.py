"""A room of a million events beside a room of a thousand: opening it, pages of it anywhere, a search in it.

Both rooms are ours and hold the same kind of events; bulk_history.py writes them into the tables before the server
starts. Synapse is not measured: filling it would take an hour. What a page of a short room takes there is in
homeserver.py.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import servers
from bench.bulk_history import add_messages, first_time
from bench.http_client import HttpClient
from bench.many_rooms import PASSWORD, timed
from bench.matrix_client import MatrixClient
from bench.measure import console, describe, machine, progress, quantile, resident_megabytes, save

SIZES = {"short": 1_000, "long": 1_000_000}
PAGE = 100
OPENED = 20
REPEATS = 40
ROWS = (
    ("opening", f"open the room: sync with its last {OPENED} events"),
    ("first_opening", "the same, first thing after a start"),
    ("newest_page", f"the newest {PAGE} events"),
    ("some_page", f"{PAGE} events from somewhere else each time"),
    ("oldest_page", f"the oldest {PAGE} events, forwards"),
    ("by_time", "the event at a time, with its context"),
    ("search", "search for a word of one message in 100,000"),
    ("send", "send a message"),
)


def main() -> dict[str, float]:
    """Fill, measure, print the table, save it, and return short, long and the ratio by name. Times in seconds."""
    facts = machine()
    figures = asyncio.run(_measure())
    save("history", {"machine": facts, "sizes": SIZES, "figures": figures})
    table = Table(title="A room of a million events beside one of a thousand", title_justify="left")
    for heading in ("medians in ms", *(f"{size:,} events" for size in SIZES.values()), "ratio"):
        table.add_column(heading, justify="left" if heading.startswith("medians") else "right")
    for name, title in ROWS:
        times = (f"{figures[f'{name}.{room}'] * 1e3:.2f}" for room in SIZES)
        table.add_row(title, *times, f"{figures[f'{name}.ratio']:.2f}x")
    out = console()
    out.print(table)
    out.print(
        f"filled with {figures['fill.rate']:,.0f} events/s; memory afterwards {figures['memory']:.1f} MB",
        highlight=False,
    )
    out.print(describe(facts), highlight=False)
    return figures


async def _measure() -> dict[str, float]:
    figures: dict[str, float] = {}
    rooms: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as folder:
        directory = Path(folder) / "ours"
        async with servers.ours(directory) as server, HttpClient() as session:
            user = MatrixClient(session, server.base_url)
            await user.register(server.registration_shared_secret, "reader", PASSWORD)
            for name in SIZES:
                rooms[name] = await user.create_room()
        began = time.perf_counter()
        for name, size in SIZES.items():
            for done in add_messages(directory / "homeserver.db", rooms[name], user.user_id, size):
                progress(f"history: {name} room: {done:,} of {size:,} events")
        figures["fill.rate"] = sum(SIZES.values()) / (time.perf_counter() - began)
        async with servers.ours(directory) as server, HttpClient() as session:
            user = user.at(session, server.base_url)
            times: dict[str, list[float]] = {f"{name}.{room}": [] for name, _ in ROWS for room in SIZES}
            for number in range(REPEATS):
                progress(f"history: round {number + 1} of {REPEATS}")
                for name, room_id in rooms.items():
                    somewhere = first_time(SIZES[name]) + SIZES[name] * number // REPEATS * 1000
                    for what, seconds in (await _once(user, room_id, somewhere)).items():
                        times[f"{what}.{name}"].append(seconds)
            figures["memory"] = resident_megabytes(server.pid)
    progress("")
    for room in SIZES:
        times[f"first_opening.{room}"] = times[f"opening.{room}"][:1]
    figures |= {name: statistics.median(samples) for name, samples in times.items()}
    figures |= {f"{name}.p99": quantile(samples, 0.99) for name, samples in times.items()}
    figures |= {f"{name}.ratio": figures[f"{name}.long"] / figures[f"{name}.short"] for name, _ in ROWS}
    return figures


async def _once(user: MatrixClient, room_id: str, time_ms: int) -> dict[str, float]:
    token = ""

    async def by_time() -> None:
        nonlocal token
        token = (await user.context(room_id, await user.event_near(room_id, time_ms)))["start"]

    async def some_page() -> None:
        await user.messages(room_id, PAGE, token, forwards=True)

    actions: dict[str, Callable[[], Awaitable[Any]]] = {
        "opening": partial(user.open_room, room_id, OPENED),
        "newest_page": partial(user.messages, room_id, PAGE),
        "by_time": by_time,
        "some_page": some_page,
        "oldest_page": partial(user.messages, room_id, PAGE, forwards=True),
        "search": partial(user.search, room_id, "thunderstorm"),
        "send": partial(user.send, room_id, "Kitchen 21.4 °C"),
    }
    return {name: await timed(action) for name, action in actions.items()}


if __name__ == "__main__":
    main()
