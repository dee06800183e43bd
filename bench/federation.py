"""Two of ours beside two Synapses: events and their way to the other server's client, joins of large rooms, memory.

Rounds alternate between the two kinds, one pair of servers running at a time, and the same client code drives both.
The large rooms are on a server that the benchmark plays (bench/made_room.py): the first server of a pair joins there,
the second one by the first. State resolution is timed apart from servers, in Synapse by its own code as a process.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.table import Table
from tests.federation.peers import Authority
from tests.synapse_peer.oracle_client import running_oracle

from bench.federated_servers import Federating, our_pair, synapse_pair
from bench.homeserver import wake_ups
from bench.http_client import HttpClient
from bench.made_room import MadeRoom, serving
from bench.matrix_client import MatrixClient, RequestFailed
from bench.measure import console, describe, machine, progress, quantile, resident_megabytes, save
from thingroom_homeserver.core.signing import SigningKey
from thingroom_homeserver.core.state_resolution import resolve

ROUNDS = 2
SENDERS = 10
SECONDS = 4.0
WARM_UP_SENDS = 10
PAGE = 1000
SIZES = (1_000, 10_000)
PATIENCE_SECONDS = 75.0
ROOM_VERSION = "12"
CONFLICTED = 3000
PASSWORD = "correct horse battery staple"

Start = Callable[[Path, Authority], AbstractAsyncContextManager[tuple[Federating, Federating]]]


@dataclass
class Round:
    """What one pair of servers gave. Times in seconds, memory in 10^6 bytes (the first server's, the second's)."""

    events: float = 0.0
    memory_idle: tuple[float, float] = (0.0, 0.0)
    memory_after_events: tuple[float, float] = (0.0, 0.0)
    memory_after_joins: tuple[float, float] = (0.0, 0.0)
    latencies: list[float] = field(default_factory=list)
    # "join_<members>": from the server that the benchmark plays; "join_<members>_again": from the pair's first.
    joins: dict[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """One line of the table. `ratio` is ours to theirs where more is better, theirs to ours where less is."""

    name: str
    title: str
    unit: str
    pick: Callable[[list[Round]], float | None]
    scale: float = 1.0
    more_is_better: bool = False


def _latency(fraction: float) -> Callable[[list[Round]], float]:
    return lambda rounds: quantile([sample for one in rounds for sample in one.latencies], fraction)


def _join(name: str) -> Callable[[list[Round]], float | None]:
    return lambda rounds: rounds[0].joins.get(name)


def _memory(attribute: str) -> Callable[[list[Round]], float]:
    return lambda rounds: max(getattr(rounds[0], attribute))


ROWS = (
    Row(
        "events",
        f"events until the remote /sync has all, {SENDERS} senders",
        "/s",
        lambda rounds: statistics.median(one.events for one in rounds),
        more_is_better=True,
    ),
    Row("latency_p50", "send to the remote client's /sync, p50", "ms", _latency(0.50), 1000),
    Row("latency_p99", "send to the remote client's /sync, p99", "ms", _latency(0.99), 1000),
    *(
        Row(f"join_{size}{end}", f"join a room of {size:,}, from {whom}", "s", _join(f"join_{size}{end}"))
        for size in SIZES
        for end, whom in (("", "the bench's server"), ("_again", "one of its kind"))
    ),
    Row("memory_idle", "memory, idle", "MB", _memory("memory_idle")),
    Row("memory_after_events", "memory after the events (the larger)", "MB", _memory("memory_after_events")),
    Row("memory_after_joins", "memory after the joins (the larger)", "MB", _memory("memory_after_joins")),
)


def main() -> dict[str, float]:
    """Run all rounds, print the table, save it, and return ours, theirs and the ratios by name."""
    facts = machine()
    progress(f"federation: state resolution, {CONFLICTED} conflicts")
    figures = _resolution()
    rounds = asyncio.run(_all_rounds())
    for row in ROWS:
        ours, theirs = row.pick(rounds["ours"]), row.pick(rounds["synapse"])
        for name, figure in (("ours", ours), ("synapse", theirs)):
            if figure is not None:
                figures[f"{row.name}.{name}"] = figure
        if ours is not None and theirs is not None:
            figures[f"{row.name}.ratio"] = ours / theirs if row.more_is_better else theirs / ours
    save("federation", {"machine": facts, "figures": figures, "rounds": _plain(rounds)})
    _print(facts, figures)
    return figures


async def _all_rounds() -> dict[str, list[Round]]:
    starts: dict[str, Start] = {"ours": our_pair, "synapse": synapse_pair}
    rounds: dict[str, list[Round]] = {name: [] for name in starts}
    with tempfile.TemporaryDirectory(prefix="thingroom-bench-") as folder:
        authority = Authority(Path(folder) / "authority")
        progress(f"federation: making rooms of {' and '.join(f'{size:,}' for size in SIZES)} members")
        async with serving(authority, ROOM_VERSION, SIZES) as large:
            for number in range(ROUNDS):
                for name, start in starts.items():
                    where = f"federation: round {number + 1} of {ROUNDS}: {name}"
                    progress(f"{where}: starting")
                    async with start(Path(folder) / f"{name}{number}", authority) as pair, HttpClient() as session:
                        result = await _events_and_latency(pair, session, where)
                        if number == 0:
                            await _joins(result, pair, session, large, where)
                    rounds[name].append(result)
    progress("")
    return rounds


async def _registered(server: Federating, session: HttpClient, name: str) -> MatrixClient:
    client = MatrixClient(session, server.base_url)
    await client.register(server.registration_shared_secret, name, PASSWORD)
    return client


async def _events_and_latency(pair: tuple[Federating, Federating], session: HttpClient, where: str) -> Round:
    here, there = pair
    result = Round()
    progress(f"{where}: registering users")
    senders = [await _registered(here, session, f"sender{number}") for number in range(SENDERS)]
    reader = await _registered(there, session, "reader")
    result.memory_idle = _memories(pair)

    progress(f"{where}: events, {SENDERS} senders")
    room = await senders[0].create_room()
    for sender in senders[1:]:
        await sender.join(room)
    await reader.join(room, via=here.server_name)
    result.events = await _events(senders, reader, room)

    progress(f"{where}: latency")
    room = await senders[0].create_room()
    await reader.join(room, via=here.server_name)
    for number in range(WARM_UP_SENDS):
        await senders[0].send(room, f"warm-up {number}")
    result.latencies = await wake_ups(senders[0], reader, room)
    result.memory_after_events = _memories(pair)
    return result


async def _events(senders: list[MatrixClient], reader: MatrixClient, room: str) -> float:
    """Each sends one message after the other until the time is over. Events a second, until the reader has all."""
    since = (await reader.sync())["next_batch"]
    sent: set[str] = set()
    seen: set[str] = set()
    sending = True
    began = time.perf_counter()

    async def send(sender: MatrixClient) -> None:
        number = 0
        while time.perf_counter() - began < SECONDS:
            sent.add(await sender.send(room, f"Kitchen 21.4 °C, {number}"))
            number += 1

    async def read(since: str) -> None:
        while sending or not sent <= seen:
            answer = await reader.sync(since, timeout_ms=500, timeline_limit=PAGE)
            since = answer["next_batch"]
            timeline = answer.get("rooms", {}).get("join", {}).get(room, {}).get("timeline", {})
            seen.update(event["event_id"] for event in timeline.get("events", ()))
            if timeline.get("limited"):
                await _read_back(reader, room, timeline["prev_batch"], seen)
            elif not timeline and not sending:
                await _read_back(reader, room, since, seen)

    reading = asyncio.create_task(read(since))
    await asyncio.gather(*map(send, senders))
    sending = False
    async with asyncio.timeout(PATIENCE_SECONDS):
        await reading
    return len(sent) / (time.perf_counter() - began)


async def _read_back(reader: MatrixClient, room: str, start: str, seen: set[str]) -> None:
    """What a limited timeline left out, as far back as there is something new."""
    while True:
        page = await reader.messages(room, PAGE, start)
        found = {event["event_id"] for event in page["chunk"]} - seen
        seen |= found
        if not found or "end" not in page:
            return
        start = page["end"]


async def _joins(
    result: Round,
    pair: tuple[Federating, Federating],
    session: HttpClient,
    large: dict[int, MadeRoom],
    where: str,
) -> None:
    here, there = pair
    first, second = await _registered(here, session, "first"), await _registered(there, session, "second")
    for size, room in large.items():
        progress(f"{where}: joining a room of {size:,}")
        result.joins[f"join_{size}"] = await _join_time(first, room, room.server_name)
        progress(f"{where}: joining it by way of the other")
        result.joins[f"join_{size}_again"] = await _join_time(second, room, here.server_name)
    result.memory_after_joins = _memories(pair)


async def _join_time(client: MatrixClient, room: MadeRoom, via: str) -> float | None:
    """Seconds until the join is answered and all members are listed. None where it takes longer than we wait."""
    began, members = time.perf_counter(), sum(kind == "m.room.member" for kind, _ in room.state)
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await client.join(str(room.room_id), via=via)
            while True:
                answer = await client.get(f"rooms/{quote(str(room.room_id))}/joined_members")
                if len(answer["joined"]) > members:
                    return time.perf_counter() - began
                await asyncio.sleep(0.1)
    except (TimeoutError, RequestFailed) as problem:
        progress(f"federation: {client.user_id} did not come into the room: {problem!r}")
        return None


def _memories(pair: tuple[Federating, Federating]) -> tuple[float, float]:
    return resident_megabytes(pair[0].pid), resident_megabytes(pair[1].pid)


def _resolution() -> dict[str, float]:
    """Two branches of a room that disagree on power levels and on members, resolved by both; the same must come out."""
    room = MadeRoom("large.test", SigningKey.from_seed("ed25519:made", bytes(32)), ROOM_VERSION)
    room.join(CONFLICTED)
    room.add("m.room.power_levels", room.levels(member0=50), "")
    branches = [room.branch(), room.branch()]
    for number, branch in enumerate(branches):
        moderator = branch.user("member0")
        for count in range(CONFLICTED):
            user_id = branch.user(f"member{count}")
            if count % 20 == 19:
                branch.add("m.room.power_levels", branch.levels(**{"member0": 50, f"member{count}": 10 + number}), "")
            elif count % 2 == number and count > 0:
                branch.add("m.room.member", {"membership": "ban"}, user_id, sender=moderator)
            elif count > 0:
                branch.add("m.room.member", {"membership": "join", "displayname": f"{number}"}, user_id)
    events = {event.event_id: event for branch in branches for event in branch.events}
    states = [{place: event.event_id for place, event in branch.state.items()} for branch in branches]
    times = []
    for _ in range(3):
        began = time.perf_counter()
        ours = resolve(room.rules, states, events.get)
        times.append(time.perf_counter() - began)
    index = {event_id: number for number, event_id in enumerate(events)}
    sets = [[index[event_id] for event_id in state.values()] for state in states]
    with running_oracle() as oracle:
        theirs, seconds = oracle.timed_resolve(ROOM_VERSION, [event.pdu for event in events.values()], sets)
    if theirs != ours:
        raise AssertionError("Synapse resolves the state in another way")
    mine = statistics.median(times)
    return {"resolution.ours": mine, "resolution.synapse": seconds, "resolution.ratio": seconds / mine}


def _print(facts: dict[str, Any], figures: dict[str, float]) -> None:
    table = Table(title="Two of ours beside two Synapses", title_justify="left")
    table.add_column("")
    for heading in ("ours", "Synapse", "", "better by"):
        table.add_column(heading, justify="left" if not heading else "right")
    shown = [(row.name, row.title, row.unit, row.scale) for row in ROWS]
    shown.append(("resolution", f"state resolution, {CONFLICTED:,} conflicted places", "ms", 1000.0))
    for name, title, unit, scale in shown:
        cells = [figures.get(f"{name}.{side}") for side in ("ours", "synapse")]
        texts = ["not in time" if cell is None else f"{cell * scale:,.1f}" for cell in cells]
        ratio = figures.get(f"{name}.ratio")
        table.add_row(title, *texts, unit, "" if ratio is None else f"{ratio:.1f}x")
    out = console()
    out.print(table)
    out.print(
        f"{ROUNDS} rounds each, alternating; joins in the first. Members of the large rooms are of a server that the\n"
        "benchmark plays; a join is timed until all of them are listed.",
        highlight=False,
    )
    out.print(describe(facts), highlight=False)


def _plain(rounds: dict[str, list[Round]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [vars(one) for one in several] for name, several in rounds.items()}


if __name__ == "__main__":
    main()
