"""State resolution: one state of a room out of several, the same on every server.

Imports auth_rules, event, power_levels, room_rules. `resolve` picks the room version's algorithm; read graph.py, then
v2.py (room versions 2 to 12) or v1.py (room version 1).
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_homeserver.core.auth_rules import StateKey
from thingroom_homeserver.core.room_rules import RoomRules
from thingroom_homeserver.core.state_resolution.graph import AuthChain, FetchEvent, IsRejected, RoomGraph, StateMap
from thingroom_homeserver.core.state_resolution.v1 import resolve_v1
from thingroom_homeserver.core.state_resolution.v2 import resolve_v2

__all__ = ["AuthChain", "FetchEvent", "IsRejected", "StateMap", "resolve"]


def _never(_event_id: str) -> bool:
    return False


def resolve(
    rules: RoomRules,
    state_sets: Sequence[StateMap],
    fetch_event: FetchEvent,
    auth_chain: AuthChain | None = None,
    *,
    is_rejected: IsRejected = _never,
) -> dict[StateKey, str]:
    """The resolution of `state_sets`, which map places in the state to event IDs. Their order does not matter.

    `fetch_event`: the event of an ID, None when it is not known; asked once for each ID. `auth_chain`: all events that
    can be reached from the given ones by auth_events, the given ones excluded or not; without it the chain is walked
    with `fetch_event`. `is_rejected`: whether an event was rejected; such an event authorises nothing, but is
    resolved like any other that is in a state set or its auth chain (the specification says so; Synapse leaves it out).
    Raises ValueError when none of the sets has the room's create event.
    """
    distinct = [state for index, state in enumerate(state_sets) if state not in state_sets[:index]]
    if len(distinct) <= 1:
        return dict(distinct[0]) if distinct else {}
    graph = RoomGraph(rules, distinct, fetch_event, auth_chain, is_rejected)
    return resolve_v1(graph) if rules.state_resolution == "v1" else resolve_v2(graph)
