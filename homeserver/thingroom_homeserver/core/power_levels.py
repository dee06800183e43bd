"""Who may do what: an m.room.power_levels content read with the defaults and tolerances of the room version.

Imports room_rules and event. Sources: m.room.power_levels; Server-Server API, "Definitions"; room version 12 on
creators; room version 1 on levels written as strings and floats. Next: auth_rules.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import RoomRules

Level: TypeAlias = int | float
"""A power level: an integer, or CREATOR_LEVEL."""

CREATOR_LEVEL: Final = math.inf

DEFAULT_LEVELS: Final[Mapping[str, int]] = {
    "ban": 50,
    "events_default": 0,
    "invite": 0,
    "kick": 50,
    "redact": 50,
    "state_default": 50,
    "users_default": 0,
}
"""What a property missing from an m.room.power_levels event means."""

_NOTIFICATION_DEFAULT: Final = 50
_LEVEL_WITHOUT_EVENT: Final = 100
_INTEGER_STRING = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*", re.ASCII)


def parse_level(value: object, rules: RoomRules) -> int | None:
    """The integer that `value` stands for as a power level under `rules`, or None if it is no level there."""
    if type(value) is int:
        return value
    if rules.integer_power_levels:
        return None
    if isinstance(value, str):
        return int(value) if _INTEGER_STRING.fullmatch(value) else None
    if rules.float_power_levels and isinstance(value, float) and math.isfinite(value):
        return int(value)
    return None


def room_creators(create: Event, rules: RoomRules) -> frozenset[str]:
    """The creators with infinite power (room version 12): the create event's sender and `additional_creators`.

    Empty in room versions without privileged creators.
    """
    if not rules.privileged_creators:
        return frozenset()
    additional = create.content.get("additional_creators")
    if not additional:
        return frozenset((create.sender,))
    return frozenset((create.sender, *(user for user in additional if isinstance(user, str))))


def room_creator(create: Event, rules: RoomRules) -> str | None:
    """The one user who may join first and who has power before any m.room.power_levels event."""
    if not rules.creator_in_content:
        return create.sender
    creator = create.content.get("creator")
    return creator if isinstance(creator, str) else None


@dataclass(frozen=True, slots=True)
class PowerLevels:
    """The power levels in force at some point of a room. Make one with `PowerLevels.of`.

    Levels which the room version cannot read count as missing.
    """

    content: Mapping[str, Any] | None
    """The content of the m.room.power_levels event, None where there is none."""
    creator: str | None
    creators: frozenset[str]
    rules: RoomRules

    @classmethod
    def of(cls, event: Event | None, create: Event, rules: RoomRules) -> PowerLevels:
        """The view of an m.room.power_levels event, or of the defaults when the room has none."""
        content = None if event is None else event.content
        return cls(content, room_creator(create, rules), room_creators(create, rules), rules)

    def user_level(self, user_id: str) -> Level:
        """The user's power level; CREATOR_LEVEL for a privileged creator."""
        if user_id in self.creators:
            return CREATOR_LEVEL
        if self.content is None:
            return _LEVEL_WITHOUT_EVENT if not self.creators and user_id == self.creator else 0
        level = self._entry("users", user_id)
        return self._named("users_default") if level is None else level

    def event_level(self, event_type: str, *, is_state: bool) -> int:
        """The level required to send an event of this type."""
        level = self._entry("events", event_type)
        return self._named("state_default" if is_state else "events_default") if level is None else level

    def notification_level(self, key: str) -> int:
        """The level required to trigger a notification such as `room` (for @room)."""
        level = self._entry("notifications", key)
        return _NOTIFICATION_DEFAULT if level is None else level

    @property
    def invite(self) -> int:
        """The level required to invite."""
        return self._named("invite")

    @property
    def kick(self) -> int:
        """The level required to remove a user."""
        return self._named("kick")

    @property
    def ban(self) -> int:
        """The level required to ban."""
        return self._named("ban")

    @property
    def redact(self) -> int:
        """The level required to redact another's event."""
        return self._named("redact")

    def _named(self, name: str) -> int:
        if self.content is None or (value := self.content.get(name)) is None:
            return DEFAULT_LEVELS[name]
        level = parse_level(value, self.rules)
        return DEFAULT_LEVELS[name] if level is None else level

    def _entry(self, table: str, key: str) -> int | None:
        if self.content is None:
            return None
        entries = self.content.get(table)
        if not isinstance(entries, dict) or (value := entries.get(key)) is None:
            return None
        return parse_level(value, self.rules)
