"""The filter of a /sync: which rooms, and an EventFilter for each part of the answer.

Pure. Source: Client-Server API, "Filtering" (Filter, RoomFilter). Next: event_shape.py, which applies `event_fields`
and `event_format`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingroom_homeserver.core.property_path import Path, parse_path
from thingroom_homeserver.rooms.event_filter import NO_FILTER, EventFilter, FilterError, flag_of, parse_event_filter

DEFAULT_TIMELINE_LIMIT = 10
MAX_TIMELINE_LIMIT = 200
MAX_FIELDS = 100
MAX_FIELD_LENGTH = 1000


@dataclass(frozen=True, slots=True)
class SyncFilter:
    """What a client wants of a /sync. `rooms` holds the rooms and not_rooms of the whole RoomFilter; `unread_threads`:
    count what is unread by thread.
    """

    rooms: EventFilter = NO_FILTER
    include_leave: bool = False
    timeline: EventFilter = NO_FILTER
    state: EventFilter = NO_FILTER
    ephemeral: EventFilter = NO_FILTER
    room_account_data: EventFilter = NO_FILTER
    account_data: EventFilter = NO_FILTER
    presence: EventFilter = NO_FILTER
    timeline_limit: int = field(default=DEFAULT_TIMELINE_LIMIT)
    event_fields: tuple[Path, ...] | None = None
    federation_format: bool = False
    unread_threads: bool = False

    @property
    def lazy_load_members(self) -> bool:
        return self.state.lazy_load_members or self.timeline.lazy_load_members

    @property
    def redundant_members(self) -> bool:
        return self.state.include_redundant_members or self.timeline.include_redundant_members


def parse_sync_filter(value: object) -> SyncFilter:
    """A Filter from decoded JSON. Raises FilterError."""
    if not isinstance(value, dict):
        raise FilterError("a filter must be an object")
    room = _object(value, "room")
    fields = value.get("event_fields")
    if fields is not None and (
        not isinstance(fields, list)
        or len(fields) > MAX_FIELDS
        or not all(isinstance(text, str) and len(text) <= MAX_FIELD_LENGTH for text in fields)
    ):
        raise FilterError(f"event_fields must be a list of at most {MAX_FIELDS} strings")
    event_format = value.get("event_format", "client")
    if event_format not in ("client", "federation"):
        raise FilterError("event_format must be client or federation")
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
        parse_event_filter(value.get("presence")),
        min(limit, MAX_TIMELINE_LIMIT),
        None if fields is None else tuple(parse_path(text) for text in fields),
        event_format == "federation",
        flag_of(_object(room, "timeline"), "unread_thread_notifications") or False,
    )


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise FilterError(f"{name} must be an object")
    return found
