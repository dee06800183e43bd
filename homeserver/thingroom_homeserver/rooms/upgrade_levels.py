"""The power levels of a room that is upgraded: those of the new room, and those that close the old one.

Pure; may import core. Sources: Client-Server API, "Room Upgrades"; room versions 10 and 12 on what levels may be.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.power_levels import DEFAULT_LEVELS, PowerLevels, parse_level
from thingroom_homeserver.core.room_rules import RoomRules

_TABLES = ("users", "events", "notifications")
CREATOR_WITHOUT_PRIVILEGE = 100
"""What the creators of a version 12 room get in a room of an older version."""
MAX_LEVEL = 2**53 - 1


def levels_for(rules: RoomRules, old: PowerLevels, creators: Collection[str], upgrader: str) -> JsonObject:
    """The content of m.room.power_levels for the new room: what the specification names, every level an integer.

    `creators`: who has infinite power in the new room and so no entry in `users`.
    """
    given = {} if old.content is None else old.content
    content: JsonObject = {}
    for name in DEFAULT_LEVELS:
        if name in given:
            level = parse_level(given[name], old.rules)
            content[name] = DEFAULT_LEVELS[name] if level is None else _bounded(level)
    for table in _TABLES:
        if table in given:
            content[table] = _integers(given[table], old)
    users = content.get("users", {})
    if not rules.privileged_creators:
        highest = max([CREATOR_WITHOUT_PRIVILEGE, *users.values()])
        users = users | dict.fromkeys(sorted(old.creators), highest)
        if old.content is None:
            users = users | {upgrader: CREATOR_WITHOUT_PRIVILEGE}
    content["users"] = {user_id: level for user_id, level in users.items() if user_id not in creators}
    return content


def raised_levels(levels: JsonObject, upgrader: str) -> JsonObject:
    """The same with the upgrader strong enough to set all of a new room's state."""
    needed = [level for level in levels.values() if isinstance(level, int)]
    needed += [*levels.get("events", {}).values(), *levels["users"].values(), DEFAULT_LEVELS["state_default"]]
    return levels | {"users": levels["users"] | {upgrader: max(needed)}}


def closed_levels(content: JsonObject, levels: PowerLevels) -> JsonObject:
    """The old room's content with `events_default` and `invite` raised to the greater of 50 and `users_default` + 1."""
    users_default = parse_level(content.get("users_default", 0), levels.rules) or 0
    wanted = min(max(50, users_default + 1), MAX_LEVEL)
    closed = dict(content)
    for name in ("events_default", "invite"):
        level = parse_level(content.get(name, DEFAULT_LEVELS[name]), levels.rules)
        if level is None or level < wanted:
            closed[name] = wanted
    return closed


def _integers(table: Any, old: PowerLevels) -> dict[str, int]:
    parsed = {key: parse_level(value, old.rules) for key, value in table.items()} if isinstance(table, dict) else {}
    return {key: _bounded(level) for key, level in parsed.items() if level is not None}


def _bounded(level: int) -> int:
    return max(-MAX_LEVEL, min(level, MAX_LEVEL))
