"""A gateway in this process and real nodes on MicroPython, for the tests of commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.node.node_process import node_settings
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway import app
from thingroom_gateway.bot.commander import Queued, RoomEvent
from thingroom_gateway.commands.command import Told
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.devices import Device
from thingroom_gateway.enrolment import Candidate, Enrolled
from thingroom_node import identity
from thingroom_node.counters import open_counters
from thingroom_wire import cbor

SWITCH: dict[str, Any] = {"name": "on", "kind": "switch"}
OWNER = "@owner:home.test"


async def enrolled_board(
    running: app.Gateway, folder: Path, profile: str = "switch", name: str = "Lamp", **changes: Any
) -> tuple[Device, dict[str, Any]]:
    """A node that the gateway knows by its keys, not started yet: its Device, and its settings."""
    directory = folder / "node"
    directory.mkdir(parents=True)
    own = identity.open_identity(str(directory))
    open_counters(str(directory / "counters"), True)
    result = await running.core.enrolment.enrol(Candidate(own.public, own.agreement_public, name, profile))
    assert isinstance(result, Enrolled), result
    keys = running.core.keys
    settings = {
        "profile": profile,
        "sensor": {"kind": "none"},
        "actuators": [SWITCH],
        "interval_ms": 60_000,
        "gateway": {"key": keys.signing_public.hex(), "agreement_key": keys.agreement_public.hex()},
        **changes,
    }
    return result.device, node_settings(folder, **settings)


def queue_of(running: app.Gateway) -> CommandQueue:
    assert running.commands is not None
    return running.commands


async def ask(running: app.Gateway, device: Device, value: str, actuator: str = "on", event: str = "") -> int:
    """Queue a command that must be taken; its id."""
    room_event = RoomEvent("!room:home.test", event) if event else None
    queued = await queue_of(running).request(device, actuator, value, OWNER, room_event)
    assert isinstance(queued, Queued), queued
    return queued.id


async def told(running: app.Gateway, command: int, seconds: float = PATIENCE_SECONDS) -> tuple[str, str]:
    """Outcome and reason of a command, waiting for it."""
    found = await queue_of(running).outcome(command, seconds)
    assert isinstance(found, Told), "no outcome yet"
    return found.outcome, found.reason


def movements(folder: Path, actuator: str = "on") -> tuple[Any, int]:
    """State of a node's simulated actuator on disk, and how often it has moved."""
    path = folder / "node" / f"actuator_{actuator}"
    if not path.exists():
        return None, 0
    value, count = cbor.decode(path.read_bytes()[:-4])
    return value, count


def latest(running: app.Gateway, device: Device, quantity: str) -> str | None:
    """The newest value of `quantity` in the history."""
    from thingroom_gateway.storage import series

    reading = running.core.database.read(lambda c: series.latest(c, device.row.id)).get(quantity)
    return None if reading is None else str(reading.value)
