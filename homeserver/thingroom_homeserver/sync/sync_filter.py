"""The filter of a /sync: which rooms, and an EventFilter for each part of the answer.

Pure. Source: Client-Server API, "Filtering" (Filter, RoomFilter). `event_fields` is accepted and not applied: a server
may send more fields than were asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingroom_homeserver.rooms.event_filter import NO_FILTER, EventFilter, FilterError, flag_of, parse_event_filter

DEFAULT_TIMELINE_LIMIT = 10
MAX_TIMELINE_LIMIT = 200


@dataclass(frozen=True, slots=True)
class SyncFilter:
    """What a client wants of a /sync. `rooms` holds the rooms and not_rooms of the whole RoomFilter."""

    rooms: EventFilter = NO_FILTER
    include_leave: bool = False
    timeline: EventFilter = NO_FILTER
    state: EventFilter = NO_FILTER
    ephemeral: EventFilter = NO_FILTER
    room_account_data: EventFilter = NO_FILTER
    account_data: EventFilter = NO_FILTER
    timeline_limit: int = field(default=DEFAULT_TIMELINE_LIMIT)

    @property
    def lazy_load_members(self) -> bool:
        return self.state.lazy_load_members or self.timeline.lazy_load_members


def parse_sync_filter(value: object) -> SyncFilter:
    """A Filter from decoded JSON. Raises FilterError."""
    if not isinstance(value, dict):
        raise FilterError("a filter must be an object")
    room = _object(value, "room")
    timeline = parse_event_filter(room.get("timeline"))
    limit = DEFAULT_TIMELINE_LIMIT if timeline.limit is None else timeline.limit
    return SyncFilter(
        parse_event_filter({name: room[name] for name in ("rooms", "not_rooms") if name in room}),
        flag_of(room, "include_leave") or False,
        timeline,
        parse_event_filter(room.get("state")),
        parse_event_filter(room.get("ephemeral")),
        parse_event_filter(room.get("account_data")),
        parse_event_filter(value.get("account_data")),
        min(limit, MAX_TIMELINE_LIMIT),
    )


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise FilterError(f"{name} must be an object")
    return found
