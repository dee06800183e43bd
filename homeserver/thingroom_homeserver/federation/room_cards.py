"""What other servers tell of rooms to those who are not in them: summaries and children of spaces, checked.

Pure; may import core. Only known keys with values of the right kind are taken over. Used by remote_directory.py and
remote_spaces.py. Source: Client-Server API, "Published room directory", "Spaces".
"""

from __future__ import annotations

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.identifiers import is_valid_room_alias, is_valid_room_id, is_valid_user_id

MAX_TEXT = 10_000
MAX_ALLOWED = 100
_TEXTS = ("name", "topic", "avatar_url", "join_rule", "room_type", "encryption", "room_version")


def card_of(value: object) -> JsonObject | None:
    """A room's summary; None for what is none."""
    if not isinstance(value, dict) or not is_valid_room_id(value.get("room_id")):
        return None
    members = value.get("num_joined_members")
    card: JsonObject = {
        "room_id": value["room_id"],
        "num_joined_members": members if type(members) is int and 0 <= members < 2**53 else 0,
        "world_readable": value.get("world_readable") is True,
        "guest_can_join": value.get("guest_can_join") is True,
    }
    for name in _TEXTS:
        text = value.get(name)
        if isinstance(text, str) and len(text) <= MAX_TEXT:
            card[name] = text
    alias = value.get("canonical_alias")
    if isinstance(alias, str) and is_valid_room_alias(alias):
        card["canonical_alias"] = alias
    allowed = value.get("allowed_room_ids")
    if isinstance(allowed, list):
        card["allowed_room_ids"] = [each for each in allowed[:MAX_ALLOWED] if is_valid_room_id(each)]
    return card


def child_of(value: object) -> JsonObject | None:
    """An m.space.child event as stripped state with its time; None for what is none."""
    if not isinstance(value, dict) or value.get("type") != "m.space.child":
        return None
    room_id, sender, content = value.get("state_key"), value.get("sender"), value.get("content")
    when = value.get("origin_server_ts")
    if not is_valid_room_id(room_id) or not is_valid_user_id(sender) or not isinstance(content, dict):
        return None
    if type(when) is not int or not 0 <= when < 2**53:
        return None
    return {
        "type": "m.space.child",
        "state_key": room_id,
        "sender": sender,
        "content": content,
        "origin_server_ts": when,
    }
