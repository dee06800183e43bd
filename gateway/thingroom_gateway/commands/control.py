"""What the control socket can ask of the queue of commands: send one, change a configuration, and wait for the answer.

May import msgspec, queue, texts, devices. control.py hands `SendCommand` and `Configure` here.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from thingroom_gateway.bot.commander import Queued, Refused
from thingroom_gateway.commands.command import Settings, Told
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.commands.texts import sentence
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.profile_file import DecimalText

Wait = Annotated[float, Meta(ge=0, le=3600)]
# What a board can reckon with: see docs/wire_format.md, "Commands".
Number = Annotated[DecimalText, Meta(max_length=10)]
Milliseconds = Annotated[int, Meta(ge=1, le=31 * 86_400_000)]
Answer = dict[str, Any]
CONTROL = "control socket"


class SendCommand(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="send_command"):
    """Set `actuator` of `device` (key id or name) to `value`; wait at most `seconds` for the device's answer."""

    device: str
    actuator: str
    value: str
    seconds: Wait = 30


class Configure(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="command", tag="configure"):
    """Change what is given of the configuration of `device`."""

    device: str
    interval_ms: Milliseconds | None = None
    longest_ms: Milliseconds | None = None
    name: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    thresholds: dict[str, Number] = {}
    calibration: dict[str, tuple[Number, Number]] = {}
    seconds: Wait = 30


async def carry_out(queue: CommandQueue, registry: Registry, command: SendCommand | Configure) -> Answer:
    """`ok`, and `outcome`: done, failed, expired or waiting. Raises sqlite3.Error."""
    device = find_device(registry, command.device)
    if isinstance(device, str):
        return {"ok": False, "error": device}
    if isinstance(command, SendCommand):
        queued: Queued | Refused = await queue.request(device, command.actuator, command.value, CONTROL, None)
    else:
        changes = Settings(
            command.interval_ms, command.longest_ms, command.name, command.thresholds, command.calibration
        )
        queued = await queue.configure(device, changes, CONTROL)
    if isinstance(queued, Refused):
        return {"ok": False, "error": queued.reason}
    told = await queue.outcome(queued.id, command.seconds)
    return {"ok": True, "id": queued.id, "name": device.row.name, **_outcome(queue, device, queued.id, told)}


def _outcome(queue: CommandQueue, device: Device, command: int, told: Told | None) -> Answer:
    if told is not None:
        return {"outcome": told.outcome, "reason": told.reason, "sentence": sentence(told)}
    expires = next((one.expires_at for one in queue.waiting(device) if one.id == command), None)
    return {"outcome": "waiting", "expires_at": expires}


def find_device(registry: Registry, name: str) -> Device | str:
    """The device with this key id or name; else a sentence."""
    word = name.strip().casefold()
    found = [one for one in registry if one.kid_hex == word] or [
        one for one in registry if one.row.name.casefold() == word
    ]
    if len(found) == 1:
        return found[0]
    if found:
        kids = ", ".join(one.kid_hex for one in found)
        return f"there are {len(found)} devices called {name}; say which by its key id: {kids}"
    return f"there is no device {name}; see: thingroom gateway devices"
