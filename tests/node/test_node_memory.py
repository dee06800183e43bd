"""The node's memory on MicroPython: flat over thousands of readings, and small enough for a small heap."""

import json
from pathlib import Path

from tests.micropython_runner import run_file
from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway
from tests.node.test_node_over_mosquitto import acknowledged

ON_BOARD = Path(__file__).parent / "on_board"
CODE = bytes(range(16))


def test_the_heap_is_flat_over_thousands_of_readings(tmp_path: Path) -> None:
    result = json.loads(run_file(ON_BOARD / "heap_flat.py", str(tmp_path), "4000"))
    assert max(result["used"]) - min(result["used"]) < 4096, result
    assert result["waiting"] == 64 and result["files"] <= 6, result


async def test_the_whole_node_runs_in_a_small_heap(tmp_path: Path) -> None:
    """320 kB with sources compiled on the spot and 64-bit words; a board has 32-bit words and compiled modules."""
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=20)
        async with NodeProcess(tmp_path, settings, heap="320k") as node:
            await node.until(lambda: set(range(1, 101)) <= acknowledged(node))
    gateway.check_chain()
