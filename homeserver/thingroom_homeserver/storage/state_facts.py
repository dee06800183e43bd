"""Whether a state that somebody tells is made of events that are here, and are what it says they are.

Functions over a connection. May import storage.connection. Called by rooms/receive_event.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.state_groups import StateKey

_FACTS = """
SELECT t.value, e.type, e.state_key, e.room_id, e.rejected FROM json_each(?) t
LEFT JOIN events e ON e.event_id = t.value
"""


@dataclass(frozen=True, slots=True)
class UnusableState:
    """`missing`: its events that are not stored; none: it is no state of the room."""

    missing: tuple[str, ...]


def check_told_state(
    connection: Reader, room_id: str, told: Mapping[StateKey, str]
) -> dict[StateKey, str] | UnusableState:
    """The state without the events that were rejected here. An event in a wrong place makes all of it unusable."""
    rows = connection.execute(_FACTS, (orjson.dumps(list(told.values())).decode(),)).fetchall()
    missing = tuple(row[0] for row in rows if row[3] is None)
    if missing:
        return UnusableState(missing)
    places = {row[0]: (row[1], row[2]) for row in rows if row[3] == room_id}
    if any(places.get(event_id) != key for key, event_id in told.items()):
        return UnusableState(())
    rejected = {row[0] for row in rows if row[4] is not None}
    return {key: event_id for key, event_id in told.items() if event_id not in rejected}
