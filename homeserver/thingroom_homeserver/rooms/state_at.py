"""The state before and after events, and auth chains: what other servers ask for, and receipt itself.

May import core and storage. Source: Server-Server API, "Retrieving missing events", "Authorisation rules".
Next: states.py, which resolves; receive_event.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.state_resolution import StateMap
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.rooms.states import EMPTY, StateAt
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.state_groups import state_of_group


def state_ids_before(rooms: Rooms, connection: Reader, event_id: str) -> StateMap | None:
    """The state before an event: event id by (type, state key). None for an outlier or an event that is not stored."""
    stored = rooms.events.get(connection, event_id)
    if stored is None or stored.state_group is None:
        return None
    state = state_of_group(connection, stored.state_group)
    event = stored.event
    # After a rejected event the state is the one before it.
    if event.state_key is not None and stored.rejected is None:
        if stored.replaces_state is None:
            state.pop((event.type, event.state_key), None)
        else:
            state[event.type, event.state_key] = stored.replaces_state
    return state


def auth_chain_of(rooms: Rooms, connection: Reader, event_ids: Iterable[str]) -> set[str]:
    """All events that can be reached from these by auth_events; they themselves only where they are reached.

    Events that are not stored are not walked through. What was walked over once is remembered.
    """
    return rooms.states.auth_graph.chain(connection, event_ids)


def state_after_all(rooms: Rooms, transaction: Transaction, room: Room, events: Sequence[StoredEvent]) -> StateAt:
    """The resolution of the states after these events, all of which have a place in the graph."""
    groups: list[StateAt | int] = []
    for stored in events:
        assert stored.state_group is not None, f"{stored.event_id} has no place in the graph"
        current = room.state_group
        at_hand = current is not None and current.id == stored.state_group
        groups.append(StateAt(current, room.state) if at_hand else stored.state_group)
    return rooms.states.resolved(transaction, room.room_id, room.rules, groups)


def current_state_of(room: Room) -> StateAt:
    """The room's current state, not copied: valid until the room changes."""
    return EMPTY if room.state_group is None else StateAt(room.state_group, room.state)


def events_of_state(
    rooms: Rooms, connection: Reader, state: StateMap, keys: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], Event]:
    """Those events of a state that are at `keys`."""
    ids = {key: state[key] for key in keys if key in state}
    found = rooms.events.get_many(connection, ids.values())
    return {key: found[event_id].event for key, event_id in ids.items() if event_id in found}
