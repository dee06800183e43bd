"""Verified readings per second from a room's history, beside a bare matrix-nio loop that only receives.

One room of our homeserver, as a process; each event has as many envelopes as a gateway puts into a batch. The watcher
has everything on: signatures, ledger, journal, and a sink on the disk. Live latency across servers is in federation.py.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nio
from rich.table import Table
from tests.browser.homeservers import running_thingroom
from tests.flows.gateway_stack import Device
from tests.watch.signed_room import state_of

from bench.measure import console, describe, machine, progress, save
from thingroom_gateway.matrix_event import readings_content
from thingroom_watch.audit import Auditor
from thingroom_watch.home import Account
from thingroom_watch.journal import Journal
from thingroom_watch.session import PAGE_EVENTS, TYPES, Session
from thingroom_watch.sinks import Sink, open_sink
from thingroom_watch.trust import RoomTrust
from thingroom_watch.watching import FROM_BEGINNING, Watcher

EVENTS = 2_000
ENVELOPES = 5
REPEATS = 3
ROWS = (
    ("bare", "matrix-nio alone, receives"),
    ("counted", "verified, counted"),
    ("jsonl", "verified, into JSON lines"),
    ("sqlite", "verified, into SQLite"),
)


def main() -> dict[str, float]:
    """Fill, measure, print the table, save it; rates in envelopes a second by name."""
    facts = machine()
    figures = asyncio.run(_measure())
    save("watch", {"machine": facts, "events": EVENTS, "envelopes": EVENTS * ENVELOPES, "figures": figures})
    table = Table(title="A room's history, read and verified", title_justify="left")
    for heading in (f"median of {REPEATS}", "envelopes/s", "of bare"):
        table.add_column(heading, justify="left" if heading.startswith("median") else "right")
    for name, title in ROWS:
        table.add_row(title, f"{figures[name]:,.0f}", f"{figures[name] / figures['bare']:.0%}")
    console().print(table)
    console().print(describe(facts), highlight=False)
    return figures


async def _measure() -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        async with running_thingroom(directory / "homeserver") as homeserver:
            await homeserver.register("owner", "correct horse")
            client = nio.AsyncClient(homeserver.base_url, "@owner:thingroom.test")
            try:
                await client.login("correct horse")
                progress("filling a room")
                room_id = await _fill(client)
                account = Account(homeserver.base_url, client.user_id, client.device_id, client.access_token)
                ways: dict[str, Callable[[Path], Awaitable[None]]] = {
                    "bare": lambda _: _bare(client, room_id),
                    **{name: _watching(name, account, room_id) for name, _ in ROWS[1:]},
                }
                figures = {}
                for name, way in ways.items():
                    times = []
                    for number in range(REPEATS):
                        progress(f"{name}, {number + 1} of {REPEATS}")
                        began = time.perf_counter()
                        await way(directory / f"{name}{number}")
                        times.append(time.perf_counter() - began)
                    figures[name] = EVENTS * ENVELOPES / statistics.median(times)
                progress("")
                return figures
            finally:
                await client.close()


async def _fill(client: nio.AsyncClient) -> str:
    made = await client.room_create(name="Kitchen")
    device = Device("Kitchen")
    await client.room_put_state(made.room_id, "org.thingroom.device", state_of(device), device.kid.hex())
    for number in range(EVENTS):
        envelopes = [device.climate(number % 300, 40) for _ in range(ENVELOPES)]
        content = json.loads(readings_content(device.kid.hex(), envelopes, []))
        await client.room_send(made.room_id, "org.thingroom.readings", content)
    return str(made.room_id)


async def _bare(client: nio.AsyncClient, room_id: str) -> None:
    start, count = "", 0
    while True:
        page = await client.room_messages(room_id, start, limit=PAGE_EVENTS, message_filter={"types": TYPES})
        count += len(page.chunk)
        if not page.end or page.end == start:
            assert count == EVENTS + 1, count
            return
        start = page.end


def _watching(kind: str, account: Account, room_id: str) -> Callable[[Path], Awaitable[None]]:
    async def way(path: Path) -> None:
        journal = Journal(path if kind == "sqlite" else path.with_suffix(".watch"))
        sink: Sink = Auditor() if kind == "counted" else open_sink(kind, path, journal)
        async with Session(account) as session:
            await session.enter(room_id)
            watcher = Watcher(session, journal, sink, RoomTrust(), FROM_BEGINNING)
            await watcher.run(until_now=True)
        assert [known.received.count for known in watcher.verifier.devices.values()] == [EVENTS * ENVELOPES]
        sink.close()
        journal.close()

    return way
