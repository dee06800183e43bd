"""What the rules look at: the event, the state it is checked against, and readings of both.

Imports event, power_levels, room_rules. Next: membership.py and level_changes.py, which are asked with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from thingroom_homeserver.core.auth_rules.selection import JOIN_RULES, POWER_LEVELS, StateKey
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.power_levels import PowerLevels
from thingroom_homeserver.core.room_rules import RoomRules


@dataclass(frozen=True, slots=True)
class Situation:
    """An event and the state it is authorised against."""

    event: Event
    state: Mapping[StateKey, Event]
    create: Event
    rules: RoomRules
    levels: PowerLevels

    @classmethod
    def of(cls, event: Event, state: Mapping[StateKey, Event], create: Event, rules: RoomRules) -> Situation:
        """Reads the power levels in force once."""
        return cls(event, state, create, rules, PowerLevels.of(state.get(POWER_LEVELS), create, rules))

    def membership_of(self, user_id: str) -> str:
        """The user's current membership; `leave` when there is none or it is not a string."""
        member = self.state.get(("m.room.member", user_id))
        if member is None:
            return "leave"
        membership = member.content.get("membership")
        return membership if isinstance(membership, str) else "leave"

    @property
    def join_rule(self) -> str:
        """The room's join rule: `invite` when none is set, and no known rule when what is set is not a string."""
        event = self.state.get(JOIN_RULES)
        join_rule = "invite" if event is None else event.content.get("join_rule", "invite")
        return join_rule if isinstance(join_rule, str) else ""
