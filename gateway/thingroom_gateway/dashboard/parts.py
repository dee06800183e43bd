"""What the dashboard looks at: the parts of a gateway that runs.

Values only; may import what the parts are. app.py makes it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from thingroom_gateway.bot.conversation import Tools
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.counters import Counters
from thingroom_gateway.plain.devices import PlainDevices
from thingroom_gateway.profiles import Profile
from thingroom_gateway.status import Overview


@dataclass(frozen=True, slots=True)
class Parts:
    """`tools` are those of the bot: what it may, and for whom, holds here too. `retry` wakes the outbox."""

    config: GatewayConfig
    tools: Tools
    counters: Counters
    overview: Overview
    queue: CommandQueue
    plain: PlainDevices | None
    profiles: Mapping[str, Profile]
    retry: Callable[[], None]
    monotonic: Callable[[], float]
