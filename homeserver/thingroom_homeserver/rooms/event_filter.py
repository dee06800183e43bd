"""Which events a client asked for: the RoomEventFilter of /sync, /messages, /context.

Pure; may import core. Source: Client-Server API, "Filtering". Next: sync/sync_filter.py, which holds several of these.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thingroom_homeserver.core.event import Event

MAX_LIST = 1000


class FilterError(ValueError):
    """Not a filter: the text says what is wrong with it."""


@dataclass(frozen=True, slots=True)
class EventFilter:
    """None means: not restricted. Types may hold `*` for any characters; types match if one of them does."""

    limit: int | None = None
    types: tuple[str, ...] | None = None
    not_types: tuple[str, ...] = ()
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False

    @property
    def takes_all(self) -> bool:
        """Whether no event of an allowed room is left out."""
        return (
            self.types is None
            and not self.not_types
            and self.senders is None
            and not self.not_senders
            and self.contains_url is None
        )

    def allows_room(self, room_id: str) -> bool:
        return room_id not in self.not_rooms and (self.rooms is None or room_id in self.rooms)

    def allows(self, event: Event) -> bool:
        """Whether an event of an allowed room passes."""
        return self.takes_all or (
            self.allows_parts(event.type, event.sender)
            and (self.contains_url is None or ("url" in event.content) == self.contains_url)
        )

    def allows_parts(self, event_type: str, sender: str | None) -> bool:
        """The same for what has no content to look at, such as account data (no sender)."""
        if sender is not None:
            if sender in self.not_senders or (self.senders is not None and sender not in self.senders):
                return False
        elif self.senders is not None:
            return False
        if any(_matches(pattern, event_type) for pattern in self.not_types):
            return False
        return self.types is None or any(_matches(pattern, event_type) for pattern in self.types)


NO_FILTER = EventFilter()


def parse_event_filter(value: object) -> EventFilter:
    """A RoomEventFilter (or an EventFilter, which has fewer fields) from decoded JSON. Raises FilterError."""
    if value is None:
        return NO_FILTER
    if not isinstance(value, dict):
        raise FilterError("a filter must be an object")
    limit = value.get("limit")
    if limit is not None and (type(limit) is not int or limit < 0):
        raise FilterError("limit must be a positive integer")
    types = _strings(value, "types")
    senders, rooms = _strings(value, "senders"), _strings(value, "rooms")
    return EventFilter(
        limit,
        types,
        _strings(value, "not_types") or (),
        None if senders is None else frozenset(senders),
        frozenset(_strings(value, "not_senders") or ()),
        None if rooms is None else frozenset(rooms),
        frozenset(_strings(value, "not_rooms") or ()),
        flag_of(value, "contains_url"),
        flag_of(value, "lazy_load_members") or False,
        flag_of(value, "include_redundant_members") or False,
    )


def flag_of(value: Mapping[str, Any], name: str) -> bool | None:
    """A boolean field, None if it is missing. Raises FilterError."""
    flag = value.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise FilterError(f"{name} must be true or false")
    return flag


def _strings(value: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    strings = value.get(name)
    if strings is None:
        return None
    if not isinstance(strings, list) or len(strings) > MAX_LIST or not all(isinstance(text, str) for text in strings):
        raise FilterError(f"{name} must be a list of at most {MAX_LIST} strings")
    return tuple(strings)


def _matches(pattern: str, text: str) -> bool:
    """Whether `text` is `pattern`, whose stars stand for any characters. Linear: a regular expression would not be."""
    first, *others = pattern.split("*")
    if not others:
        return pattern == text
    *middle, last = others
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
