"""State resolution of room version 1.

Imports graph and auth_rules. Source: "State resolution" of room version 1. Where it is silent, this does what the
servers do that such rooms live on: member events are resolved for each user apart, and when no other event of a place
passes, the one with the lowest depth stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import chain

from thingroom_homeserver.core.auth_rules import Allowed, StateKey, auth_types_for_event, check_auth
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.state_resolution.graph import RoomGraph

_FIRST = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_v1(graph: RoomGraph) -> dict[StateKey, str]:
    """The resolved state of the graph's state sets."""
    unconflicted, conflicts = graph.separate(missing_is_conflict=False)
    candidates = {key: graph.events(ids) for key, ids in conflicts.items()}
    resolved = _authorising_state(graph, unconflicted, chain.from_iterable(candidates.values()))
    open_keys = {key for key, events in candidates.items() if events}
    # Conflicts between m.room.power_levels events, then m.room.join_rules, then m.room.member.
    for event_type in _FIRST:
        chosen = {
            key: _last_allowed(graph, resolved, candidates[key])
            for key in open_keys
            if key[0] == event_type and (key[1] == "" or event_type != "m.room.power_levels")
        }
        resolved |= chosen
        open_keys -= chosen.keys()
    # No other events affect the authorisation rules.
    resolved |= {key: _deepest_allowed(graph, resolved, candidates[key]) for key in open_keys}
    return unconflicted | {key: event.event_id for key, event in resolved.items()}


def _authorising_state(
    graph: RoomGraph, unconflicted: dict[StateKey, str], events: Iterable[Event]
) -> dict[StateKey, Event]:
    """Of the unconflicted state what is needed to authorise `events`."""
    needed: set[StateKey] = set()
    for event in events:
        needed |= auth_types_for_event(event, graph.rules)
    ids = {key: unconflicted[key] for key in needed & unconflicted.keys()}
    return {key: known for key, event_id in ids.items() if (known := graph.event(event_id)) is not None}


def _by_depth(events: Iterable[Event]) -> list[Event]:
    """Ascending depth, then descending SHA-1 of the event ID."""
    return sorted(events, key=lambda event: (-event.depth, _sha1(event.event_id)), reverse=True)


def _sha1(event_id: str) -> str:
    return hashlib.sha1(event_id.encode(), usedforsecurity=False).hexdigest()


def _last_allowed(graph: RoomGraph, resolved: dict[StateKey, Event], events: list[Event]) -> Event:
    """The first of the events by depth, replaced by the next as long as that is allowed in the state so far."""
    first, *others = _by_depth(events)
    chosen, state = first, dict(resolved)
    for event in others:
        assert chosen.state_key is not None
        state[chosen.type, chosen.state_key] = chosen
        if not isinstance(check_auth(event, state, graph.rules, create=graph.create), Allowed):
            break
        chosen = event
    return chosen


def _deepest_allowed(graph: RoomGraph, resolved: dict[StateKey, Event], events: list[Event]) -> Event:
    """The event with the highest depth and lowest SHA-1 that the state allows; the shallowest when it allows none."""
    ordered = _by_depth(events)
    for event in reversed(ordered):
        if isinstance(check_auth(event, resolved, graph.rules, create=graph.create), Allowed):
            return event
    return ordered[0]
