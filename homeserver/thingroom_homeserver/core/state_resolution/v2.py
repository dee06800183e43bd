"""State resolution of room versions 2 to 11, and of room version 12 ("v2.1").

Imports graph, ordering, auth_rules. Comments carry the steps of "Algorithm" in room version 12, which differs in where
it starts from and in the conflicted state subgraph. Next: v1.py is the older one.
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_homeserver.core.auth_rules import Allowed, StateKey, auth_types_for_event, check_auth
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.state_resolution.graph import RoomGraph
from thingroom_homeserver.core.state_resolution.ordering import mainline_order, reverse_topological_power_order

_POWER_LEVELS: StateKey = ("m.room.power_levels", "")


def resolve_v2(graph: RoomGraph) -> dict[StateKey, str]:
    """The resolved state of the graph's state sets."""
    unconflicted, conflicts = graph.separate(missing_is_conflict=True)
    if not conflicts:
        return unconflicted
    conflicted = set().union(*conflicts.values())
    starts_empty = graph.rules.state_resolution == "v2.1"
    full = conflicted | graph.auth_difference()
    if starts_empty:
        full |= graph.conflicted_subgraph(conflicted)
    full_conflicted = {event.event_id: event for event in graph.events(full) if event.state_key is not None}

    # 1. Select the power events and what authorises them, and sort them by reverse topological power ordering.
    powerful = _power_events_and_auth(graph, full_conflicted)
    first = reverse_topological_power_order(graph, powerful.values())
    # 2. Apply the iterative auth checks, starting from an empty state map (until v11: the unconflicted state map).
    resolved = _iterative_auth_checks(graph, {} if starts_empty else dict(unconflicted), first)
    # 3. Order the remaining events by the mainline of the resolved power levels.
    rest = [event for event_id, event in full_conflicted.items() if event_id not in powerful]
    ordered = mainline_order(graph, rest, resolved.get(_POWER_LEVELS))
    # 4. Apply the iterative auth checks to them, on the state so far.
    resolved = _iterative_auth_checks(graph, resolved, ordered)
    # 5. Replace what the unconflicted state map has.
    return resolved | unconflicted


def _is_power_event(event: Event) -> bool:
    """Whether the event may take away somebody's ability to do something."""
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return True
    if event.type == "m.room.member" and event.sender != event.state_key:
        return event.content.get("membership") in ("leave", "ban")
    return False


def _power_events_and_auth(graph: RoomGraph, full_conflicted: dict[str, Event]) -> dict[str, Event]:
    """The power events, with those of their auth chains that are conflicted too.

    The chain is followed through conflicted events only, as everybody does; since version 12 it comes to the same.
    """
    selected = {event_id: event for event_id, event in full_conflicted.items() if _is_power_event(event)}
    pending = list(selected.values())
    while pending:
        for auth_id in pending.pop().auth_event_ids:
            if auth_id in full_conflicted and auth_id not in selected:
                selected[auth_id] = full_conflicted[auth_id]
                pending.append(full_conflicted[auth_id])
    return selected


def _iterative_auth_checks(
    graph: RoomGraph, state: dict[StateKey, str], events: Iterable[Event]
) -> dict[StateKey, str]:
    """Apply the events one after the other, each if the state so far allows it. Changes and returns `state`.

    What the state lacks to authorise an event is taken from the event's own auth events, unless rejected.
    """
    for event in events:
        auth_state = _auth_state(graph, state, event)
        if isinstance(check_auth(event, auth_state, graph.rules, create=graph.create), Allowed):
            assert event.state_key is not None
            state[event.type, event.state_key] = event.event_id
    return state


def _auth_state(graph: RoomGraph, state: dict[StateKey, str], event: Event) -> dict[StateKey, Event]:
    own = {
        (auth_event.type, auth_event.state_key): auth_event
        for auth_event in graph.events(event.auth_event_ids)
        if not graph.is_rejected(auth_event.event_id)
    }
    auth_state = {}
    for key in auth_types_for_event(event, graph.rules):
        resolved = None if key not in state else graph.event(state[key])
        if resolved is None or graph.is_rejected(resolved.event_id):
            resolved = own.get(key)
        if resolved is not None:
            auth_state[key] = resolved
    return auth_state
