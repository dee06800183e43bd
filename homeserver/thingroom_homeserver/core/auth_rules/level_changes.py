"""Rule 10: m.room.power_levels. Nobody gives more than they have, nor takes from their equals.

Imports situation, identifiers, power_levels. Numbers are room version 12's; in the versions before this is rule 9
(v6 to v11) or 10 (v1 to v5), where 10.1 and 10.2 began with v10 and 10.4 with v12. Next: checks.py.
"""

from __future__ import annotations

from typing import Any

from thingroom_homeserver.core.auth_rules.selection import POWER_LEVELS
from thingroom_homeserver.core.auth_rules.situation import Situation
from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.core.power_levels import DEFAULT_LEVELS, Level, parse_level
from thingroom_homeserver.core.room_rules import RoomRules


def check_level_changes(situation: Situation) -> Verdict:
    """Whether a power levels event is well formed and changes only what its sender may change."""
    event, rules = situation.event, situation.rules
    new = event.content
    fault = _format_fault(new, situation)
    if fault is not None:
        return fault
    # 10.5 If there is no previous m.room.power_levels event in the room, allow.
    previous = situation.state.get(POWER_LEVELS)
    if previous is None:
        return ALLOWED
    old = previous.content
    sender_level = situation.levels.user_level(event.sender)
    # 10.6 For users_default, events_default, state_default, ban, redact, kick, invite check if they were added, changed
    # or removed. If the current (10.6.1) or the new value (10.6.2) is higher than the sender's level, reject.
    for name in DEFAULT_LEVELS:
        verdict = _check_change(old, new, name, sender_level, rules, ("10.6.1", "10.6.2"))
        if verdict is not None:
            return verdict
    # 10.7 and 10.8 The same for each entry of events and (since v6) notifications.
    for table in ("events", "notifications") if rules.limit_notification_levels else ("events",):
        verdict = _check_table(old.get(table), new, table, sender_level, rules)
        if verdict is not None:
            return verdict
    return _check_users(old.get("users"), new.get("users", {}), sender_level, event.sender, rules) or ALLOWED


def _format_fault(content: JsonObject, situation: Situation) -> Rejected | None:
    rules = situation.rules
    if rules.integer_power_levels:
        # 10.1 If users_default, events_default, state_default, ban, redact, kick or invite are present and not an
        # integer, reject.
        for name in DEFAULT_LEVELS:
            if name in content and type(content[name]) is not int:
                return Rejected(f"{name} must be an integer", "10.1")
        # 10.2 If events or notifications are present and not an object with values that are integers, reject.
        for table in ("events", "notifications"):
            entries = content.get(table, {})
            if not isinstance(entries, dict) or not all(type(level) is int for level in entries.values()):
                return Rejected(f"{table} must be an object of integers", "10.2")
    # 10.3 If users is not an object with keys that are valid user IDs with values that are integers (until v9: or a
    # string that is an integer), reject.
    users = content.get("users", {})
    if not isinstance(users, dict):
        return Rejected("users must be an object", "10.3")
    for user_id, level in users.items():
        if not is_valid_user_id(user_id) or parse_level(level, rules) is None:
            return Rejected("users must have user IDs with integers", "10.3")
    # 10.4 If users contains the sender of the m.room.create event or any of the additional_creators, reject.
    for creator in situation.levels.creators:
        if creator in users:
            return Rejected(f"users must not contain the creator {creator}", "10.4")
    return None


def _check_change(
    old: JsonObject, new: JsonObject, key: str, sender_level: Level, rules: RoomRules, numbers: tuple[str, str]
) -> Rejected | None:
    """Compare one level before and after. `numbers`: the rules for a current and for a new value that is too high."""
    old_level = parse_level(old.get(key), rules)
    new_level = None
    if key in new:
        new_level = parse_level(new[key], rules)
        if new_level is None:  # possible until v9, where only users is checked: what has no value cannot be compared
            return Rejected(f"{key} is not a power level", numbers[1])
    if old_level == new_level:
        return None
    if old_level is not None and old_level > sender_level:
        return Rejected(f"the sender may not change {key}, which is above their own power level", numbers[0])
    if new_level is not None and new_level > sender_level:
        return Rejected(f"the sender may not set {key} above their own power level", numbers[1])
    return None


def _check_table(old: Any, content: JsonObject, table: str, sender_level: Level, rules: RoomRules) -> Rejected | None:
    new = content.get(table, {})
    if not isinstance(new, dict):
        return Rejected(f"{table} must be an object", "10.8")
    old = old if isinstance(old, dict) else {}
    for key in old.keys() | new.keys():
        # 10.7.1 For each entry changed or removed: if the current value is greater than the sender's level, reject.
        # 10.8.1 For each entry added or changed: if the new value is greater than the sender's level, reject.
        verdict = _check_change(old, new, key, sender_level, rules, ("10.7.1", "10.8.1"))
        if verdict is not None:
            return verdict
    return None


def _check_users(old: Any, new: JsonObject, sender_level: Level, sender: str, rules: RoomRules) -> Rejected | None:
    old = old if isinstance(old, dict) else {}
    for user_id in old.keys() | new.keys():
        old_level, new_level = parse_level(old.get(user_id), rules), parse_level(new.get(user_id), rules)
        if old_level == new_level:
            continue
        # 10.9.1 For each entry changed or removed, other than the sender's own: if the current value is greater than or
        # equal to the sender's level, reject.
        if user_id != sender and old_level is not None and old_level >= sender_level:
            return Rejected(f"the sender may not change the power level of {user_id}", "10.9.1")
        # 10.10.1 For each entry added or changed: if the new value is greater than the sender's level, reject.
        if new_level is not None and new_level > sender_level:
            return Rejected(f"the sender may not give {user_id} more power than their own", "10.10.1")
    return None
