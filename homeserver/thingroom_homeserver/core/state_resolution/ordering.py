"""The two orders of state resolution v2: reverse topological power ordering and mainline ordering.

Imports graph, event, power_levels. Definitions are those of room versions 2 and 12. Next: v2.py.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from thingroom_homeserver.core.auth_rules import StateKey
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.graph_order import in_topological_order
from thingroom_homeserver.core.power_levels import Level, PowerLevels
from thingroom_homeserver.core.state_resolution.graph import RoomGraph

_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


def reverse_topological_power_order(graph: RoomGraph, events: Collection[Event]) -> list[Event]:
    """The events, auth events before those they authorise; otherwise by power of the sender, time and event ID.

    Kahn's algorithm, taking at each step the smallest event that is free.
    """
    return in_topological_order(
        events,
        lambda event: event.auth_event_ids,
        lambda event: (-_sender_level(graph, event), event.origin_server_ts, event.event_id),
    )


def mainline_order(graph: RoomGraph, events: Iterable[Event], power_levels_id: str | None) -> list[Event]:
    """The events ordered by how close they are to the power levels event, then by time and event ID; closest last."""
    mainline: dict[str, int] = {}
    current = None if power_levels_id is None else graph.event(power_levels_id)
    while current is not None:
        mainline[current.event_id] = len(mainline)
        current = _power_levels_of(graph, current)

    def position(event: Event) -> Level:
        cited = _power_levels_of(graph, event)
        while cited is not None:
            if cited.event_id in mainline:
                return mainline[cited.event_id]
            cited = _power_levels_of(graph, cited)
        return math.inf

    return sorted(events, key=lambda event: (-position(event), event.origin_server_ts, event.event_id))


def _power_levels_of(graph: RoomGraph, event: Event) -> Event | None:
    """The m.room.power_levels event among the event's auth events."""
    for auth_event in graph.events(event.auth_event_ids):
        if (auth_event.type, auth_event.state_key) == _POWER_LEVELS:
            return auth_event
    return None


def _sender_level(graph: RoomGraph, event: Event) -> Level:
    """The power level of the event's sender according to the event's auth events."""
    return PowerLevels.of(_power_levels_of(graph, event), graph.create, graph.rules).user_level(event.sender)
