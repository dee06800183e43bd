"""What a user keeps when they join the room that replaces one of theirs: tags, direct chats, push rules.

May import core and storage. Source: Client-Server API, "Room Upgrades", the last paragraph. Called by membership.py.
"""

from __future__ import annotations

from typing import Any

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.room_cache import Room
from thingroom_homeserver.storage.account_data import read_data, set_data
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.positions import next_position

TAG, DIRECT, PUSH_RULES = "m.tag", "m.direct", "m.push_rules"
NO_ROOM = ""


def carry_over(rooms: Rooms, transaction: Transaction, room: Room, user_id: str) -> None:
    """Copy what the user set for the room's predecessor, where that names this room as its replacement."""
    predecessor = rooms.cache.create_event(transaction, room).content.get("predecessor")
    old_id = predecessor.get("room_id") if isinstance(predecessor, dict) else None
    if not isinstance(old_id, str) or not _is_replaced_by(rooms, transaction, old_id, room.room_id):
        return
    tags = _read(transaction, user_id, old_id, TAG)
    if tags is not None and _read(transaction, user_id, room.room_id, TAG) is None:
        _set(rooms, transaction, user_id, room.room_id, TAG, tags)
    for kind, change in ((DIRECT, with_direct_room), (PUSH_RULES, with_rules_of_room)):
        content = _read(transaction, user_id, NO_ROOM, kind)
        changed = None if content is None else change(content, old_id, room.room_id)
        if changed is not None and changed != content:
            _set(rooms, transaction, user_id, NO_ROOM, kind, changed)


def with_direct_room(content: JsonObject, old_id: str, new_id: str) -> JsonObject:
    """m.direct with the new room beside the old one."""
    return {
        user_id: [*room_ids, new_id]
        if isinstance(room_ids, list) and old_id in room_ids and new_id not in room_ids
        else room_ids
        for user_id, room_ids in content.items()
    }


def with_rules_of_room(content: JsonObject, old_id: str, new_id: str) -> JsonObject:
    """m.push_rules with each of the user's rules for the old room repeated for the new one."""
    rules = content.get("global")
    if not isinstance(rules, dict):
        return content
    changed = {}
    for kind, of_kind in rules.items():
        changed[kind] = of_kind
        if not isinstance(of_kind, list):
            continue
        there = {rule.get("rule_id") for rule in of_kind if isinstance(rule, dict)}
        copies = [_copied(rule, old_id, new_id) for rule in of_kind if isinstance(rule, dict) and _names(rule, old_id)]
        added = [rule for rule in copies if rule["rule_id"] not in there]
        # The master rule stays first, the user's own rules stay above the predefined ones.
        at = 1 if of_kind and of_kind[0].get("rule_id") == ".m.rule.master" else 0
        changed[kind] = [*of_kind[:at], *added, *of_kind[at:]]
    return {**content, "global": changed}


def _names(rule: dict[str, Any], room_id: str) -> bool:
    """Whether a rule of the user's is about the room."""
    if rule.get("default"):
        return False
    return rule.get("rule_id") == room_id or any(_is_about(each, room_id) for each in rule.get("conditions") or ())


def _is_about(condition: Any, room_id: str) -> bool:
    return isinstance(condition, dict) and condition.get("key") == "room_id" and condition.get("pattern") == room_id


def _copied(rule: dict[str, Any], old_id: str, new_id: str) -> dict[str, Any]:
    name = str(rule.get("rule_id"))
    copied = {**rule, "rule_id": name.replace(old_id, new_id) if old_id in name else f"{name} {new_id}"}
    if "conditions" in rule:
        copied["conditions"] = [
            {**each, "pattern": new_id} if _is_about(each, old_id) else each for each in rule["conditions"]
        ]
    return copied


def _is_replaced_by(rooms: Rooms, transaction: Transaction, old_id: str, new_id: str) -> bool:
    event_id = current_entry(transaction, old_id, "m.room.tombstone", "")
    tombstone = None if event_id is None else rooms.events.get(transaction, event_id)
    return tombstone is not None and tombstone.event.content.get("replacement_room") == new_id


def _read(transaction: Transaction, user_id: str, room_id: str, kind: str) -> JsonObject | None:
    text = read_data(transaction, user_id, room_id, kind)
    content = None if text is None else orjson.loads(text)
    return content if isinstance(content, dict) else None


def _set(rooms: Rooms, transaction: Transaction, user_id: str, room_id: str, kind: str, content: JsonObject) -> None:
    position = next_position(transaction)
    set_data(transaction, user_id, room_id, kind, orjson.dumps(content).decode(), position)
    transaction.after_commit(lambda: rooms.notifier.publish_user(user_id, position))
