"""What another server shows of a room to somebody who is not in it: invite_room_state and knock_room_state, checked.

Each entry is to be a whole event of the room; what is not is told apart, since servers before v1.16 sent only four keys
of each. May import core and this package. Source: Server-Server API, "Inviting to a room", "Knocking upon a room".
Used by inviting.py and knocking.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.verify_event import verify_events

MAX_ENTRIES = 50
_STRIPPED_KEYS = ("type", "state_key", "sender", "content")


@dataclass(frozen=True, slots=True)
class Glimpse:
    """`shown` is for clients: stripped state. `faults`: what is wrong with the entries as v1.16 wants them."""

    shown: tuple[JsonObject, ...]
    faults: tuple[str, ...]


async def read_glimpse(keys: ServerKeys, entries: object, room_id: str, room_version: str) -> Glimpse:
    """Check the entries. Those that are no events of the room are shown only in versions that had no such rule."""
    values: Sequence[object] = entries[:MAX_ENTRIES] if isinstance(entries, list) else ()
    faults = [] if isinstance(entries, list) else ["there is no list of state events"]
    shown: list[JsonObject] = []
    pdus = [value for value in values if isinstance(value, dict) and "auth_events" in value]
    checked = dict(zip(map(id, pdus), await verify_events(keys, pdus, room_version), strict=True))
    strict = ROOM_RULES[room_version].invites_need_whole_events
    has_create = False
    for value in values:
        event = checked.get(id(value))
        if isinstance(event, Event):
            if event.room_id != room_id or event.state_key is None:
                faults.append(f"{event.event_id} is no state of the room")
                continue
            has_create |= event.type == "m.room.create"
            shown.append(stripped_state(event))
        elif event is not None:
            faults.append(event.reason)
        else:
            faults.append("an entry is not formatted as an event")
            if not strict and isinstance(value, dict) and _is_stripped(value):
                shown.append({name: value[name] for name in _STRIPPED_KEYS})
    if not has_create:
        faults.append("the create event is missing")
    return Glimpse(tuple(shown), tuple(faults))


def _is_stripped(value: JsonObject) -> bool:
    """Whether it has the four keys, with contents that clients can be told (no integers beyond 64 bits)."""
    try:
        orjson.dumps(value.get("content"))
    except TypeError:
        return False
    return (
        isinstance(value.get("type"), str)
        and isinstance(value.get("state_key"), str)
        and is_valid_user_id(value.get("sender"))
        and isinstance(value.get("content"), dict)
    )
