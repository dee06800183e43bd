"""Our homeserver beside Synapse: start-up, memory, sends, wake-ups, rooms, logins; 500 rooms; a history; media.

Rounds alternate between the two servers, one running at a time, and the same client code drives both. What takes long
to make (many_rooms.py, media.py, a history) is measured once in a run of its own, after the rounds. The next reading
is bench/servers.py (how they are started) and bench/matrix_client.py (what they are asked).
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from bench import many_rooms, media, servers
from bench.http_client import HttpClient
from bench.matrix_client import MatrixClient
from bench.measure import (
    console,
    describe,
    machine,
    own_megabytes,
    processor_seconds,
    progress,
    quantile,
    resident_megabytes,
    save,
)

ROUNDS = 5
CLIENTS = 20
SECONDS = 2.0
# In the first round of each server only: it costs time and hardly varies.
IDLE_SECONDS = 5.0
WAKE_UPS_SECONDS = 3.0
# Long enough for the waiting client to be back in its long poll before the next send.
PAUSE_SECONDS = 0.03
WARM_UP_SENDS = 20
REPEATS = 5
HISTORY = 1_000
PAGE = 100
PASSWORD = "correct horse battery staple"

Start = Callable[[Path], AbstractAsyncContextManager[servers.Running]]


@dataclass
class Round:
    """What one run of one server gave. Times in seconds, memory in 10^6 bytes, rates per second."""

    started_in: float = 0.0
    memory_at_start: float = 0.0
    memory_idle: float = 0.0
    memory_own: float = 0.0
    memory_after_load: float = 0.0
    sends_sequential: float = 0.0
    sends_concurrent: float = 0.0
    processor_sequential: float = 0.0
    processor_concurrent: float = 0.0
    room_creation: float = 0.0
    login: float = 0.0
    wake_ups: list[float] = field(default_factory=list)


Once = dict[str, float]
"""What was measured once, by the names in ONCE. Times in seconds, memory in 10^6 bytes."""


@dataclass(frozen=True)
class OnceRow:
    """One line of the second table; less is better in all of them."""

    name: str
    title: str
    unit: str = "ms"
    scale: float = 1000


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is ours to theirs where more is better, theirs to ours where less is."""

    name: str
    title: str
    unit: str
    scale: float
    more_is_better: bool
    pick: Callable[[list[Round]], float]


def _median(attribute: str) -> Callable[[list[Round]], float]:
    return lambda rounds: statistics.median(getattr(one, attribute) for one in rounds)


def _wake_up(fraction: float) -> Callable[[list[Round]], float]:
    """The quantile over the wake-ups of all rounds: p99 needs every sample there is."""
    return lambda rounds: quantile([sample for one in rounds for sample in one.wake_ups], fraction)


ROWS = (
    Row("start_up", "process start to first answer", "s", 1, False, _median("started_in")),
    Row("memory_at_start", "memory when it answers", "MB", 1, False, _median("memory_at_start")),
    Row("memory_idle", f"memory {IDLE_SECONDS:g} s later, idle", "MB", 1, False, lambda rounds: rounds[0].memory_idle),
    Row("memory_own", "  not shared with other programs", "MB", 1, False, lambda rounds: rounds[0].memory_own),
    Row("memory_after_load", "memory after the load below", "MB", 1, False, _median("memory_after_load")),
    Row("sends_sequential", "sends, one client", "/s", 1, True, _median("sends_sequential")),
    Row("sends_concurrent", f"sends, {CLIENTS} clients in one room", "/s", 1, True, _median("sends_concurrent")),
    Row("processor_sequential", "processor time a send, one client", "ms", 1e3, False, _median("processor_sequential")),
    Row(
        "processor_concurrent",
        f"processor time a send, {CLIENTS} clients",
        "ms",
        1000,
        False,
        _median("processor_concurrent"),
    ),
    Row("wake_up_p50", "send to waiting /sync, p50", "ms", 1000, False, _wake_up(0.50)),
    Row("wake_up_p99", "send to waiting /sync, p99", "ms", 1000, False, _wake_up(0.99)),
    Row("room_creation", "createRoom", "ms", 1000, False, _median("room_creation")),
    Row("login", "login with a password", "ms", 1000, False, _median("login")),
)

MANY = many_rooms.ROOMS
ONCE = (
    OnceRow("sync_1_p50", "send to waiting /sync, in 1 room"),
    OnceRow(f"sync_{MANY}_p50", f"send to waiting /sync, in {MANY} rooms"),
    OnceRow("sync_1_processor", "  processor time for both, in 1 room"),
    OnceRow(f"sync_{MANY}_processor", f"  processor time for both, in {MANY} rooms"),
    OnceRow("sliding_1_p50", "send to waiting sliding sync, in 1 room"),
    OnceRow(f"sliding_{MANY}_p50", f"send to waiting sliding sync, in {MANY} rooms"),
    OnceRow("sliding_1_processor", "  processor time for both, in 1 room"),
    OnceRow(f"sliding_{MANY}_processor", f"  processor time for both, in {MANY} rooms"),
    OnceRow("sync_first", f"initial /sync, in {MANY} rooms"),
    OnceRow("sliding_first", f"first sliding sync, list of {MANY} rooms"),
    OnceRow("room_creation_many", f"a room of {MANY}, made {many_rooms.AT_ONCE} at a time"),
    OnceRow("page", f"a page of {PAGE} events, walking back through {HISTORY:,}"),
    OnceRow("upload", "upload of 1 MB"),
    OnceRow("download", "download of 1 MB"),
    OnceRow("picture", "upload of a picture, and its thumbnail"),
    OnceRow("thumbnail", "the same thumbnail again"),
    OnceRow("memory_at_end", "memory after all this", "MB", 1),
)


def main() -> dict[str, float]:
    """Run all rounds, print the tables, save them, and return ours, theirs and the ratios by name."""
    facts = machine()
    rounds, once = asyncio.run(_all())
    figures = _figures(rounds) | _once_figures(once)
    save("homeserver", {"machine": facts, "figures": figures, "rounds": _plain(rounds), "once": once})
    _print(facts, figures, rounds)
    return figures


async def _all() -> tuple[dict[str, list[Round]], dict[str, Once]]:
    starts: dict[str, Start] = {"ours": servers.ours, "synapse": servers.synapse}
    with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as folder:
        users = {}
        for name, start in starts.items():
            progress(f"homeserver: {name}: registering {CLIENTS + 1} users")
            async with start(Path(folder) / name) as server, HttpClient() as session:
                users[name] = await _register_everybody(server, session)
        rounds = await _all_rounds(starts, Path(folder), users)
        once = {}
        for name, start in starts.items():
            async with start(Path(folder) / name) as server, HttpClient() as session:
                clients = [user.at(session, server.base_url) for user in users[name]]
                once[name] = await _measure_once(server, clients, f"homeserver: {name}")
    progress("")
    return rounds, once


async def _measure_once(server: servers.Running, clients: list[MatrixClient], where: str) -> Once:
    figures = await many_rooms.measure(server, clients[0], where)
    progress(f"{where}: a history of {HISTORY:,} events")
    figures["page"] = await _pages(clients)
    figures |= await media.measure(clients[0], where)
    figures["memory_at_end"] = resident_megabytes(server.pid)
    return figures


async def _pages(clients: list[MatrixClient]) -> float:
    """Median seconds of a page, from the newest to the oldest."""
    reader = clients[0]
    room = await reader.create_room()
    for client in clients[1:]:
        await client.join(room)

    async def some(client: MatrixClient) -> None:
        for number in range(HISTORY // CLIENTS):
            await client.send(room, f"Kitchen 21.4 °C, {number}")

    await asyncio.gather(*(some(client) for client in clients[1:]))
    times, start = [], ""
    for _ in range(HISTORY // PAGE):
        began = time.perf_counter()
        page = await reader.messages(room, PAGE, start)
        times.append(time.perf_counter() - began)
        start = page["end"]
    return statistics.median(times)


async def _all_rounds(
    starts: dict[str, Start], folder: Path, users: dict[str, list[MatrixClient]]
) -> dict[str, list[Round]]:
    rounds: dict[str, list[Round]] = {name: [] for name in starts}
    for number in range(ROUNDS):
        for name, start in starts.items():
            where = f"homeserver: round {number + 1} of {ROUNDS}: {name}"
            idle = IDLE_SECONDS if number == 0 else 0.0
            async with start(folder / name) as server:
                rounds[name].append(await _one_round(server, users[name], where, idle))
    return rounds


async def _register_everybody(server: servers.Running, session: HttpClient) -> list[MatrixClient]:
    users = [MatrixClient(session, server.base_url) for _ in range(CLIENTS + 1)]
    for number, user in enumerate(users):
        await user.register(server.registration_shared_secret, f"user{number}", PASSWORD)
    return users


async def _one_round(server: servers.Running, users: list[MatrixClient], where: str, idle: float) -> Round:
    result = Round(started_in=server.started_in, memory_at_start=resident_megabytes(server.pid))
    progress(f"{where}: idle")
    await asyncio.sleep(idle)
    result.memory_idle = resident_megabytes(server.pid)
    result.memory_own = own_megabytes(server.pid)
    async with HttpClient() as session:
        waiter, *clients = (user.at(session, server.base_url) for user in users)
        await _load(result, server.pid, waiter, clients, where)
    result.memory_after_load = resident_megabytes(server.pid)
    return result


async def _load(result: Round, pid: int, waiter: MatrixClient, clients: list[MatrixClient], where: str) -> None:
    sender = clients[0]
    progress(f"{where}: logins and rooms")
    again = MatrixClient(sender.session, sender.base_url)
    result.login = await _median_time(lambda: again.login("user1", PASSWORD))
    result.room_creation = await _median_time(sender.create_room)

    progress(f"{where}: sends, one client")
    room = await sender.create_room()
    for number in range(WARM_UP_SENDS):
        await sender.send(room, f"warm-up {number}")
    result.sends_sequential, result.processor_sequential = await _sends([sender], room, pid)

    progress(f"{where}: sends, {CLIENTS} clients")
    room = await sender.create_room()
    for client in clients[1:]:
        await client.join(room)
    result.sends_concurrent, result.processor_concurrent = await _sends(clients, room, pid)

    progress(f"{where}: wake-ups")
    room = await sender.create_room()
    await waiter.join(room)
    result.wake_ups = await wake_ups(sender, waiter, room)


async def _median_time(action: Callable[[], Awaitable[Any]]) -> float:
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        await action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


async def _sends(clients: list[MatrixClient], room: str, pid: int) -> tuple[float, float]:
    """Each client sends one message after the other until the time is over; what was begun is counted.

    Returns sends per second, and the server's processor seconds a send.
    """
    taken, began = processor_seconds(pid), time.perf_counter()

    async def one(client: MatrixClient) -> int:
        count = 0
        while time.perf_counter() - began < SECONDS:
            await client.send(room, f"Kitchen 21.4 °C, {count}")
            count += 1
        return count

    counts = await asyncio.gather(*(one(client) for client in clients))
    seconds = time.perf_counter() - began
    return sum(counts) / seconds, (processor_seconds(pid) - taken) / sum(counts)


async def wake_ups(sender: MatrixClient, waiter: MatrixClient, room: str) -> list[float]:
    """Seconds from the start of a send to the answer of the other user's waiting /sync that brings the event."""
    since = (await waiter.sync())["next_batch"]
    samples: list[float] = []
    finish = time.perf_counter() + WAKE_UPS_SECONDS
    while time.perf_counter() < finish:
        body = f"wake up {len(samples)}"
        waiting = asyncio.create_task(_wait_for(waiter, room, body, since))
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        await sender.send(room, body)
        arrived, since = await waiting
        samples.append(arrived - began)
    return samples


async def _wait_for(waiter: MatrixClient, room: str, body: str, since: str) -> tuple[float, str]:
    while True:
        answer = await waiter.sync(since, timeout_ms=30_000)
        arrived, since = time.perf_counter(), answer["next_batch"]
        joined = answer.get("rooms", {}).get("join", {}).get(room, {})
        if any(event["content"].get("body") == body for event in joined.get("timeline", {}).get("events", ())):
            return arrived, since


def _figures(rounds: dict[str, list[Round]]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for row in ROWS:
        ours, theirs = row.pick(rounds["ours"]), row.pick(rounds["synapse"])
        figures[f"{row.name}.ours"] = ours
        figures[f"{row.name}.synapse"] = theirs
        figures[f"{row.name}.ratio"] = _ratio(row, ours, theirs)
    return figures


def _once_figures(once: dict[str, Once]) -> dict[str, float]:
    figures: dict[str, float] = {}
    for row in ONCE:
        ours, theirs = (once[name][row.name] for name in ("ours", "synapse"))
        figures |= {f"{row.name}.ours": ours, f"{row.name}.synapse": theirs, f"{row.name}.ratio": theirs / ours}
    for way in ("sync", "sliding"):
        # The send is part of both, so this is more than what the rooms alone do.
        figures[f"{way}_{MANY}_to_1"] = once["ours"][f"{way}_{MANY}_processor"] / once["ours"][f"{way}_1_processor"]
    return figures


def _spread(row: Row, rounds: dict[str, list[Round]]) -> str:
    """The ratio of each pair of neighbouring rounds: how far the machine's other work moved the figures."""
    pairs = zip(rounds["ours"], rounds["synapse"], strict=True)
    return "  ".join(f"{_ratio(row, row.pick([ours]), row.pick([theirs])):.1f}" for ours, theirs in pairs)


def _ratio(row: Row, ours: float, theirs: float) -> float:
    return ours / theirs if row.more_is_better else theirs / ours


def _print(facts: dict[str, Any], figures: dict[str, float], rounds: dict[str, list[Round]]) -> None:
    table = Table(title="Our homeserver beside Synapse", title_justify="left")
    table.add_column("")
    for heading in ("ours", "Synapse", "", "better by", "round by round"):
        table.add_column(heading, justify="left" if not heading else "right")
    for row in ROWS:
        ours, theirs = figures[f"{row.name}.ours"] * row.scale, figures[f"{row.name}.synapse"] * row.scale
        ratio = f"{figures[f'{row.name}.ratio']:.1f}x"
        table.add_row(row.title, f"{ours:,.2f}", f"{theirs:,.2f}", row.unit, ratio, _spread(row, rounds))
    second = Table(title="The same two with many rooms, a history and media, once each", title_justify="left")
    for heading in ("", "ours", "Synapse", "", "better by"):
        second.add_column(heading, justify="right" if heading else "left")
    for once in ONCE:
        ours, theirs = figures[f"{once.name}.ours"] * once.scale, figures[f"{once.name}.synapse"] * once.scale
        second.add_row(once.title, f"{ours:,.2f}", f"{theirs:,.2f}", once.unit, f"{figures[f'{once.name}.ratio']:.1f}x")
    out = console()
    out.print(table)
    out.print(second)
    out.print(
        f"{len(rounds['ours'])} rounds each, alternating; medians (p50 and p99 over the samples of all rounds).",
        highlight=False,
    )
    out.print(describe(facts), highlight=False)


def _plain(rounds: dict[str, list[Round]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [vars(one) for one in several] for name, several in rounds.items()}


if __name__ == "__main__":
    main()
