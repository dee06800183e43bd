"""The push rules that every user starts with.

May import the standard library only. Source: client-server API, "Push Notifications", "Predefined Rules".
"""

from __future__ import annotations

from typing import Any

Rule = dict[str, Any]

_SOUND: Rule = {"set_tweak": "sound", "value": "default"}
_RING: Rule = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT: Rule = {"set_tweak": "highlight"}
_TWO_MEMBERS: Rule = {"kind": "room_member_count", "is": "2"}


def default_push_rules(user_id: str) -> dict[str, Any]:
    """The content of m.push_rules: `{"global": {kind: [rule, ...]}}`, highest priority first."""
    rules = {"override": _override(user_id), "content": [], "room": [], "sender": [], "underride": _underride()}
    return {"global": rules}


def _override(user_id: str) -> list[Rule]:
    return [
        _rule(".m.rule.master", [], [], enabled=False),
        _rule(".m.rule.suppress_notices", [_match("content.msgtype", "m.notice")], []),
        _rule(
            ".m.rule.invite_for_me",
            [_match("type", "m.room.member"), _match("content.membership", "invite"), _match("state_key", user_id)],
            ["notify", _SOUND],
        ),
        _rule(".m.rule.member_event", [_match("type", "m.room.member")], []),
        _rule(
            ".m.rule.is_user_mention",
            [{"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": user_id}],
            ["notify", _SOUND, _HIGHLIGHT],
        ),
        _rule(
            ".m.rule.is_room_mention",
            [
                {"kind": "event_property_is", "key": "content.m\\.mentions.room", "value": True},
                {"kind": "sender_notification_permission", "key": "room"},
            ],
            ["notify", _HIGHLIGHT],
        ),
        _rule(
            ".m.rule.tombstone", [_match("type", "m.room.tombstone"), _match("state_key", "")], ["notify", _HIGHLIGHT]
        ),
        _rule(".m.rule.reaction", [_match("type", "m.reaction")], []),
        _rule(".m.rule.room.server_acl", [_match("type", "m.room.server_acl"), _match("state_key", "")], []),
        _rule(
            ".m.rule.suppress_edits",
            [{"kind": "event_property_is", "key": "content.m\\.relates_to.rel_type", "value": "m.replace"}],
            [],
        ),
    ]


def _underride() -> list[Rule]:
    return [
        _rule(".m.rule.call", [_match("type", "m.call.invite")], ["notify", _RING]),
        _rule(
            ".m.rule.encrypted_room_one_to_one", [_TWO_MEMBERS, _match("type", "m.room.encrypted")], ["notify", _SOUND]
        ),
        _rule(".m.rule.room_one_to_one", [_TWO_MEMBERS, _match("type", "m.room.message")], ["notify", _SOUND]),
        _rule(".m.rule.message", [_match("type", "m.room.message")], ["notify"]),
        _rule(".m.rule.encrypted", [_match("type", "m.room.encrypted")], ["notify"]),
    ]


def _rule(rule_id: str, conditions: list[Rule], actions: list[Any], *, enabled: bool = True) -> Rule:
    return {"rule_id": rule_id, "default": True, "enabled": enabled, "conditions": conditions, "actions": actions}


def _match(key: str, pattern: str) -> Rule:
    return {"kind": "event_match", "key": key, "pattern": pattern}
