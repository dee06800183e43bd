"""A sliding sync request: decoded JSON becomes frozen values here, with a limit to everything in it.

Pure. Source: MSC4186, "Request Body"; the unstable path says some of it in other words (`ranges`, `is_invite`,
`required_state` as pairs), and both are understood at both paths. Next: user_rooms.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from thingroom_homeserver.sliding.required_state import RequestError, RequiredState, parse_required_state

MAX_LISTS = 100
MAX_SUBSCRIPTIONS = 100
MAX_NAMES = 1000
MAX_NAME_LENGTH = 255
MAX_TIMELINE_LIMIT = 200
DEFAULT_TO_DEVICE_LIMIT = 100
Range = tuple[int, int]
"""First and last index, both part of it."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Which rooms a list is of; None: not restricted. An entry None among types stands for rooms without a type."""

    is_dm: bool | None = None
    is_encrypted: bool | None = None
    is_invite: bool | None = None
    spaces: tuple[str, ...] | None = None
    room_types: tuple[str | None, ...] | None = None
    not_room_types: tuple[str | None, ...] = ()
    tags: tuple[str, ...] | None = None
    not_tags: tuple[str, ...] = ()
    name_like: str | None = None


@dataclass(frozen=True, slots=True)
class RoomConfig:
    """What to tell of a room."""

    timeline_limit: int
    required: RequiredState


@dataclass(frozen=True, slots=True)
class ListWish:
    """A list. `ranges` None: all of its rooms."""

    config: RoomConfig
    filters: Filters
    ranges: tuple[Range, ...] | None


@dataclass(frozen=True, slots=True)
class Extensions:
    """The names of the enabled extensions, and what to_device asks for besides. Unknown ones are left out."""

    enabled: frozenset[str] = frozenset()
    to_device_since: str | None = None
    to_device_limit: int = DEFAULT_TO_DEVICE_LIMIT
    scopes: Mapping[str, Scope] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scope:
    """The lists and subscribed rooms that an extension is to tell of; `*`: all of them."""

    lists: frozenset[str]
    rooms: frozenset[str]


EVERYWHERE = Scope(frozenset("*"), frozenset("*"))


@dataclass(frozen=True, slots=True)
class SlidingWish:
    """The whole request, but for its place in the connection."""

    conn_id: str
    lists: Mapping[str, ListWish]
    subscriptions: Mapping[str, RoomConfig]
    extensions: Extensions

    def same_rooms_as(self, other: SlidingWish) -> bool:
        return self.lists == other.lists and self.subscriptions == other.subscriptions


KNOWN_EXTENSIONS = ("to_device", "e2ee", "account_data", "receipts", "typing")


def parse_wish(body: Mapping[str, Any], user_id: str) -> SlidingWish:
    """From the decoded body of a request by `user_id`. Raises RequestError."""
    conn_id = body.get("conn_id")
    if conn_id is None:
        conn_id = ""
    if not isinstance(conn_id, str) or len(conn_id) > MAX_NAME_LENGTH:
        raise RequestError("conn_id must be a short string")
    lists = _objects(body, "lists", MAX_LISTS)
    subscriptions = _objects(body, "room_subscriptions", MAX_SUBSCRIPTIONS)
    return SlidingWish(
        conn_id,
        {name: _list(value, user_id) for name, value in lists.items()},
        {room_id: _config(value, user_id) for room_id, value in subscriptions.items()},
        _extensions(_objects(body, "extensions", MAX_LISTS)),
    )


def _list(value: Mapping[str, Any], user_id: str) -> ListWish:
    ranges = value.get("ranges")
    if value.get("range") is not None:
        ranges = [value["range"]]
    if value.get("slow_get_all_rooms") is True:
        ranges = None
    return ListWish(_config(value, user_id), _filters(value.get("filters")), _ranges(ranges))


def _config(value: Mapping[str, Any], user_id: str) -> RoomConfig:
    limit = value.get("timeline_limit")
    if type(limit) is not int or limit < 0:
        raise RequestError("timeline_limit must be a number of events")
    return RoomConfig(min(limit, MAX_TIMELINE_LIMIT), parse_required_state(value.get("required_state"), user_id))


def _ranges(value: Any) -> tuple[Range, ...] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) > MAX_LISTS:
        raise RequestError("ranges must be a list of ranges")
    found = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(type(n) is int and n >= 0 for n in pair):
            raise RequestError("a range must be two indices")
        found.append((pair[0], pair[1]))
    return tuple(found)


def _filters(value: Any) -> Filters:
    if value is None:
        return Filters()
    if not isinstance(value, dict):
        raise RequestError("filters must be an object")
    invite = _flag(value, "is_invited")
    name_like = value.get("room_name_like")
    if not isinstance(name_like, str | None):
        raise RequestError("room_name_like must be a string")
    return Filters(
        is_dm=_flag(value, "is_dm"),
        is_encrypted=_flag(value, "is_encrypted"),
        is_invite=_flag(value, "is_invite") if invite is None else invite,
        spaces=_names(value, "spaces"),
        room_types=_types(value, "room_types"),
        not_room_types=_types(value, "not_room_types") or (),
        tags=_names(value, "tags"),
        not_tags=_names(value, "not_tags") or (),
        name_like=None if name_like is None else name_like.casefold(),
    )


def _extensions(value: Mapping[str, Mapping[str, Any]]) -> Extensions:
    enabled = frozenset(name for name in KNOWN_EXTENSIONS if _flag(value.get(name, {}), "enabled"))
    to_device = value.get("to_device", {})
    since, limit = to_device.get("since"), to_device.get("limit")
    if not isinstance(since, str | None):
        raise RequestError("to_device: since must be a string")
    if limit is None:
        limit = DEFAULT_TO_DEVICE_LIMIT
    if type(limit) is not int or limit < 0:
        raise RequestError("to_device: limit must be a number of events")
    return Extensions(
        enabled,
        since,
        max(1, min(limit, DEFAULT_TO_DEVICE_LIMIT)),
        {name: _scope(value[name]) for name in enabled},
    )


def _scope(value: Mapping[str, Any]) -> Scope:
    lists, rooms = _names(value, "lists"), _names(value, "rooms")
    return Scope(frozenset("*" if lists is None else lists), frozenset("*" if rooms is None else rooms))


def _objects(body: Mapping[str, Any], name: str, most: int) -> Mapping[str, Mapping[str, Any]]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(one, dict) for one in value.values()):
        raise RequestError(f"{name} must be an object of objects")
    if len(value) > most or any(len(key) > MAX_NAME_LENGTH for key in value):
        raise RequestError(f"{name} has more than {most} entries, or one with too long a name")
    return value


def _flag(value: Mapping[str, Any], name: str) -> bool | None:
    flag = value.get(name)
    if flag is not None and not isinstance(flag, bool):
        raise RequestError(f"{name} must be true or false")
    return flag


def _names(value: Mapping[str, Any], name: str) -> tuple[str, ...] | None:
    names = value.get(name)
    if names is None:
        return None
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(text, str) for text in names):
        raise RequestError(f"{name} must be a list of strings")
    return tuple(names)


def _types(value: Mapping[str, Any], name: str) -> tuple[str | None, ...] | None:
    types = value.get(name)
    if types is None:
        return None
    if not isinstance(types, list) or len(types) > MAX_NAMES or not all(isinstance(t, str | None) for t in types):
        raise RequestError(f"{name} must be a list of room types")
    return tuple(types)
