"""The order of events in a graph: each after those that it cites.

Imports event.py only. Used by state_resolution/ordering.py (auth events) and rooms/gaps.py (prev events).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from heapq import heapify, heappop, heappush

from thingroom_homeserver.core.event import Event

SortKey = tuple[float, int, str]
"""Which of those comes first that may: two numbers, and the event ID at the end."""


def in_topological_order(
    events: Collection[Event], cited: Callable[[Event], Iterable[str]], key: Callable[[Event], SortKey]
) -> list[Event]:
    """The events, each after those of them that it cites, otherwise by `key`. What is in a cycle is left out."""
    by_id = {event.event_id: event for event in events}
    waits_for = {event.event_id: {each for each in cited(event) if each in by_id} for event in events}
    unlocks: dict[str, list[str]] = {}
    for event_id, before in waits_for.items():
        for each in before:
            unlocks.setdefault(each, []).append(event_id)
    keys = {event.event_id: key(event) for event in events}
    free = [keys[event_id] for event_id, before in waits_for.items() if not before]
    heapify(free)
    ordered = []
    while free:
        event_id = heappop(free)[2]
        ordered.append(by_id[event_id])
        for unlocked in unlocks.get(event_id, ()):
            waits_for[unlocked].discard(event_id)
            if not waits_for[unlocked]:
                heappush(free, keys[unlocked])
    return ordered
