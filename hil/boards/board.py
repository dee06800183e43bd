"""What every board of the bench can do, emulated or real: power, reset, console, settings, sensors, actuators.

A story in hil/flows is written against this protocol alone. May import nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Protocol

from hil.boards.console import Console


class BoardError(Exception):
    """The bench itself cannot go on (no emulator, the port is gone ...); the message is one sentence with the cure."""


class Cannot(Exception):
    """This kind of board has no such part: a real board's room is not warmed by a test."""


class Board(Protocol):
    """A board with the firmware on it. Its storage outlives `cut_power` and `power_off`, its memory does not."""

    name: str
    console: Console

    async def power_on(self) -> None:
        """Start it. Returns when it is running, not when the firmware has said something. Raises BoardError."""

    async def power_off(self) -> None:
        """Stop it for good; harmless when it is off."""

    async def cut_power(self) -> None:
        """Take its power away now, in the midst of whatever it does."""

    async def reset(self) -> None:
        """Press its reset button."""

    def configure(self, settings: Mapping[str, Any]) -> None:
        """Put node.json on it, while it is off."""

    @property
    def own_settings(self) -> dict[str, Any]:
        """What node.json says on this board whatever the story: where its state is, which line is its link."""

    async def set_sensor(self, sensor: str, quantity: str, value: Decimal) -> None:
        """Let `sensor` measure `value`, in the unit of its SenML record. Raises Cannot."""

    async def read_actuator(self, actuator: str) -> str:
        """What `actuator` is set to, as the world sees it. Raises Cannot."""
