"""The seam to commands for devices: what the bot asks for, and what it is answered.

Pure; may import devices. commands/queue.py is the Commander of a gateway that runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from thingroom_gateway.devices import Device


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """The message that asked, so that it can be answered in its room."""

    room_id: str
    event_id: str


@dataclass(frozen=True, slots=True)
class Queued:
    """The command is on its way, durably; what comes of it is told later."""

    id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not: a sentence for people."""

    reason: str


class Commander(Protocol):
    """Whoever sends commands to devices."""

    async def request(
        self, device: Device, actuator: str, value: str, requested_by: str, room_event: RoomEvent
    ) -> Queued | Refused:
        """Queue a command. The same `room_event` again is the same command and queues nothing new."""
        ...
