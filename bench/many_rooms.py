"""What it costs to be in 500 rooms instead of one: woken /syncs and sliding syncs, and the first ones.

Called by homeserver.py, once for each server: a user in one room and a user in 500 wait for the same sender's message.
The next reading is bench/matrix_client.py.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from bench import servers
from bench.matrix_client import MatrixClient
from bench.measure import processor_seconds, progress, quantile

ROOMS = 500
AT_ONCE = 4
# Alternating between one room and many, so that neither has the warmer server.
PASSES = 3
WAKE_UPS = 40
WARM_UP = 5
# Long enough for the waiting client to be back in its long poll before the next send.
PAUSE_SECONDS = 0.02
FIRST_SYNCS = 3
PASSWORD = "correct horse battery staple"

Sync = Callable[[str, int], Awaitable[dict[str, Any]]]
"""(token, timeout in ms) to an answer."""


@dataclass(frozen=True)
class _Way:
    """One way to sync. `token` names where the answer has its place in the stream."""

    name: str
    token: str
    sync: Sync
    first: Callable[[int], Awaitable[dict[str, Any]]]
    """The first sync of a client that knows nothing; the number makes each unlike the others, for servers that keep
    answers."""


async def measure(server: servers.Running, sender: MatrixClient, where: str) -> dict[str, float]:
    """Seconds, by the names that homeserver.py shows."""
    figures: dict[str, float] = {}
    few, many = (MatrixClient(sender.session, server.base_url) for _ in range(2))
    await few.register(server.registration_shared_secret, "few", PASSWORD)
    await many.register(server.registration_shared_secret, "many", PASSWORD)
    progress(f"{where}: making {ROOMS} rooms")
    began = time.perf_counter()
    rooms = await _make_rooms(many)
    figures["room_creation_many"] = (time.perf_counter() - began) / ROOMS
    one_room = await few.create_room("The only room")
    for room_id in (one_room, rooms[0]):
        await sender.join(room_id)
    figures |= await _all_wake_ups(server.pid, sender, {1: (few, one_room), ROOMS: (many, rooms[0])}, where)
    for way in _ways(many):
        progress(f"{where}: first {way.name} of {ROOMS} rooms")
        figures[f"{way.name}_first"] = await _first(way)
    return figures


def _ways(client: MatrixClient) -> tuple[_Way, ...]:
    async def sliding(pos: str, timeout_ms: int) -> dict[str, Any]:
        return await client.sliding_sync(pos, timeout_ms, rooms=ROOMS)

    return (
        _Way("sync", "next_batch", client.sync, lambda number: client.sync(timeline_limit=10 + number)),
        _Way("sliding", "pos", sliding, lambda number: client.sliding_sync(rooms=ROOMS, connection=f"first {number}")),
    )


async def _make_rooms(owner: MatrixClient) -> list[str]:
    async def some(numbers: range) -> list[str]:
        return [await owner.create_room(f"Room {number}") for number in numbers]

    made = await asyncio.gather(*(some(range(first, ROOMS, AT_ONCE)) for first in range(AT_ONCE)))
    return [room_id for rooms in made for room_id in rooms]


async def _all_wake_ups(
    pid: int, sender: MatrixClient, waiters: dict[int, tuple[MatrixClient, str]], where: str
) -> dict[str, float]:
    """By how many rooms the waiters are in: the waiter and the room to send in."""
    times: dict[str, list[float]] = {}
    processor: dict[str, list[float]] = {}
    for number in range(PASSES):
        for count, (waiter, room_id) in waiters.items():
            for way in _ways(waiter):
                progress(f"{where}: pass {number + 1} of {PASSES}: {way.name}, {count} rooms")
                samples, taken = await _wake_ups(pid, sender, way, room_id)
                times.setdefault(f"{way.name}_{count}", []).extend(samples)
                processor.setdefault(f"{way.name}_{count}", []).append(taken)
    figures = {f"{name}_p50": quantile(samples, 0.5) for name, samples in times.items()}
    return figures | {f"{name}_processor": statistics.median(taken) for name, taken in processor.items()}


async def _wake_ups(pid: int, sender: MatrixClient, way: _Way, room_id: str) -> tuple[list[float], float]:
    """Seconds from the start of a send to the waiting answer that brings it, and the server's processor time for both.

    The send is part of both figures: what the number of rooms costs is the difference between two of them.
    """
    token = (await way.sync("", 0))[way.token]
    samples: list[float] = []
    taken = 0.0
    for number in range(WARM_UP + WAKE_UPS):
        if number == WARM_UP:
            taken = processor_seconds(pid)
        body = f"{way.name} {time.perf_counter_ns()}"  # like no other: a server may answer from an old place
        waiting = asyncio.create_task(_wait_for(way, room_id, body, token))
        await asyncio.sleep(PAUSE_SECONDS)
        began = time.perf_counter()
        await sender.send(room_id, body)
        arrived, token = await waiting
        samples.append(arrived - began)
    return samples[WARM_UP:], (processor_seconds(pid) - taken) / WAKE_UPS


async def _wait_for(way: _Way, room_id: str, body: str, token: str) -> tuple[float, str]:
    while True:
        answer = await way.sync(token, 30_000)
        arrived, token = time.perf_counter(), answer[way.token]
        if body in _bodies(answer, room_id):
            return arrived, token


def _bodies(answer: dict[str, Any], room_id: str) -> list[Any]:
    """The texts of a room in an answer of either kind."""
    rooms = answer.get("rooms", {})
    room = rooms.get(room_id) or rooms.get("join", {}).get(room_id, {})
    timeline = room.get("timeline", ())
    events = timeline.get("events", ()) if isinstance(timeline, dict) else timeline
    return [event["content"].get("body") for event in events]


async def _first(way: _Way) -> float:
    return statistics.median([await timed(partial(way.first, number)) for number in range(FIRST_SYNCS)])


async def timed(action: Callable[[], Awaitable[Any]]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    await action()
    return time.perf_counter() - began
