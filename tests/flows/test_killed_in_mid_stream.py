"""Broker, gateway and homeserver killed outright while readings stream: nothing acknowledged is lost, nothing twice.

The supervisor brings each back; the nodes, on MicroPython, catch up by themselves.
"""

import asyncio
import json
import random
import sys
from pathlib import Path

from nio import AsyncClient
from tests.flows.readings import proven_readings, room_named
from tests.flows.test_run_demo import signed_in
from tests.flows.thingroom_run import Running
from tests.patience import tries

from thingroom_gateway import control

UNIX_MAIN = Path(__file__).parents[2] / "firmware" / "thingroom_node" / "unix_main.py"
INTERVAL_MS = 80
READINGS = 100


class Node:
    """The real firmware as a child process, and what it said."""

    def __init__(self, directory: Path, name: str, link: str, port: int, code: str) -> None:
        directory.mkdir()
        self.name = name
        self.sampled: set[int] = set()
        self.acknowledged: set[int] = set()
        settings = {
            "directory": str(directory),
            "name": name,
            "profile": "climate",
            "link": link,
            "host": "127.0.0.1",
            "port": port,
            "interval_ms": INTERVAL_MS,
            "sensor": {"kind": "simulated", "seed": len(name)},
            "pairing_code": code,
        }
        self._file = directory / "node.json"
        self._file.write_text(json.dumps(settings))

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "micropython_unix", str(UNIX_MAIN), str(self._file), stdout=asyncio.subprocess.PIPE
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for line in self._process.stdout:
            event = json.loads(line)
            if event["event"] == "sampled":
                self.sampled.add(event["sequence"])
            elif event["event"] == "acknowledged":
                for first, last in event["ranges"]:
                    self.acknowledged.update(range(first, last + 1))

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._reader


async def in_room(client: AsyncClient, name: str) -> list[int]:
    """The sequences in a node's room, in the order of the room."""
    room_id = await room_named(client, name)
    return [] if room_id is None else [reading.sequence for reading in await proven_readings(client, room_id)]


async def test_each_acknowledged_reading_is_in_the_room_exactly_once(tmp_path):
    async with Running(tmp_path / "data", demo=False) as running:
        await running.until_printed("Thingroom is running")
        opened = await asyncio.to_thread(
            control.ask, running.data / "gateway", {"command": "open_pairing", "minutes": 5}
        )
        nodes = [
            Node(tmp_path / "n1", "Cellar", "mqtt", running.broker_port, opened["code"]),
            Node(tmp_path / "n2", "Attic", "mqtt", running.broker_port, opened["code"]),
            Node(tmp_path / "n3", "Porch", "coap", running.coap_port, opened["code"]),
        ]
        for node in nodes:
            await node.start()
        await running.until(lambda: all(len(node.acknowledged) > 5 for node in nodes))

        shuffle = random.Random(7)
        for _ in range(2):
            for word in shuffle.sample(["mosquitto", "thingroom_gateway", "thingroom_homeserver"], 3):
                await asyncio.sleep(shuffle.uniform(0.3, 1.5))
                running.process_of(word).kill()
                before = {node.name: len(node.acknowledged) for node in nodes}
                if word != "thingroom_homeserver":
                    await asyncio.sleep(1.0)
        await running.until(
            lambda: all(
                len(node.acknowledged) > before[node.name] + 10 and len(node.acknowledged) >= READINGS for node in nodes
            ),
            60,
        )
        for node in nodes:
            await node.kill()

        client = await signed_in(running)
        for node in nodes:
            assert node.acknowledged <= node.sampled
            for _ in tries():
                found = await in_room(client, node.name)
                if node.acknowledged <= set(found):
                    break
                await asyncio.sleep(0.3)
            lost = sorted(node.acknowledged - set(found))
            assert not lost, f"{node.name}: acknowledged but not in the room: {lost}\n{running.story()}"
            assert len(found) == len(set(found)), f"{node.name}: {sorted(n for n in found if found.count(n) > 1)} twice"
        await client.close()
        stopped = [line for line in running.lines if "stopped" in line]
        assert len(stopped) == 6, running.story()
