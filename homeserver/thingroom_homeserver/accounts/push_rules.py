"""Push rules: those that every user starts with, and changes to a user's own set of them. Pure functions.

May import outcomes.py only. client_api/push_rules.py keeps the result as account data of type m.push_rules.
Source: client-server API, "Push Notifications", "Push Rules" and "Predefined Rules".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from thingroom_homeserver.accounts.outcomes import Refusal, Refused

Rule = dict[str, Any]
Rules = dict[str, Any]
"""The content of m.push_rules: `{"global": {kind: [rule, ...]}}`, highest priority first."""

KINDS = ("override", "content", "room", "sender", "underride")
WITH_CONDITIONS = ("override", "underride")
MAX_RULES = 1000
MAX_RULE_ID_LENGTH = 255

_SOUND: Rule = {"set_tweak": "sound", "value": "default"}
_RING: Rule = {"set_tweak": "sound", "value": "ring"}
_HIGHLIGHT: Rule = {"set_tweak": "highlight"}
_TWO_MEMBERS: Rule = {"kind": "room_member_count", "is": "2"}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new rule goes: right before or after another rule of its kind, or (neither) before all of the user's."""

    before: str | None = None
    after: str | None = None


def default_push_rules(user_id: str) -> Rules:
    """The predefined rules."""
    rules = {"override": _override(user_id), "content": [], "room": [], "sender": [], "underride": _underride()}
    return {"global": rules}


def find_rule(rules: Rules, kind: str, rule_id: str) -> Rule | None:
    for rule in rules["global"].get(kind, []):
        if rule["rule_id"] == rule_id:
            return {**rule}
    return None


def rule_of(kind: str, rule_id: str, body: dict[str, Any]) -> Rule | Refused:
    """A user's own rule, from the body of PUT /pushrules/global/{kind}/{ruleId}."""
    if rule_id.startswith(".") or not 0 < len(rule_id) <= MAX_RULE_ID_LENGTH or "/" in rule_id or "\\" in rule_id:
        return Refused(Refusal.INVALID, "Not a rule id: it has no slashes and does not begin with a dot")
    actions = body.get("actions")
    if not _are_actions(actions):
        return Refused(Refusal.BAD_JSON, "actions must be a list of strings and objects")
    rule: Rule = {"rule_id": rule_id, "default": False, "enabled": True, "actions": _in_use(actions or [])}
    if kind in WITH_CONDITIONS:
        conditions = body.get("conditions", [])
        if not isinstance(conditions, list) or not all(
            isinstance(condition, dict) and isinstance(condition.get("kind"), str) for condition in conditions
        ):
            return Refused(Refusal.BAD_JSON, "conditions must be a list of objects with a kind")
        rule["conditions"] = conditions
    if kind == "content":
        if not isinstance(body.get("pattern"), str):
            return Refused(Refusal.BAD_JSON, "pattern must be a string")
        rule["pattern"] = body["pattern"]
    return rule


def added(rules: Rules, kind: str, rule: Rule, place: Place) -> Rules | Refused:
    """With the rule in its place; one of the same id is replaced and keeps its `enabled`."""
    own = [other for other in rules["global"][kind] if not other["default"]]
    default = [other for other in rules["global"][kind] if other["default"]]
    old = next((index for index, other in enumerate(own) if other["rule_id"] == rule["rule_id"]), None)
    at = old or 0
    if old is not None:
        rule = {**rule, "enabled": own.pop(old)["enabled"]}
    elif len(own) >= MAX_RULES:
        return Refused(Refusal.TOO_LARGE, f"More than {MAX_RULES} rules")
    neighbour = place.before if place.before is not None else place.after
    if neighbour is not None:
        index = next((index for index, other in enumerate(own) if other["rule_id"] == neighbour), None)
        if index is None:
            return Refused(Refusal.NO_NEIGHBOUR, f"before/after rule not found: {neighbour}")
        at = index if place.before is not None else index + 1
    own.insert(at, rule)
    # The master rule stays above everything, the other predefined ones below the user's own.
    master = [other for other in default if other["rule_id"] == ".m.rule.master"]
    rest = [other for other in default if other["rule_id"] != ".m.rule.master"]
    return {"global": {**rules["global"], kind: [*master, *own, *rest]}}


def removed(rules: Rules, kind: str, rule_id: str) -> Rules | Refused:
    """Without one of the user's own rules."""
    rule = find_rule(rules, kind, rule_id)
    if rule is None:
        return Refused(Refusal.NOT_FOUND, "There is no such push rule")
    if rule["default"]:
        return Refused(Refusal.INVALID, "A predefined rule can be switched off, not removed")
    left = [other for other in rules["global"][kind] if other["rule_id"] != rule_id]
    return {"global": {**rules["global"], kind: left}}


def with_enabled(rules: Rules, kind: str, rule_id: str, enabled: bool) -> Rules | Refused:
    """With a rule switched on or off."""
    return _with_change(rules, kind, rule_id, lambda rule: {**rule, "enabled": enabled})


def with_actions(rules: Rules, kind: str, rule_id: str, actions: list[Any]) -> Rules | Refused:
    """With other actions for a rule."""
    if not _are_actions(actions):
        return Refused(Refusal.BAD_JSON, "actions must be a list of strings and objects")
    return _with_change(rules, kind, rule_id, lambda rule: {**rule, "actions": _in_use(actions)})


def _with_change(rules: Rules, kind: str, rule_id: str, change: Callable[[Rule], Rule]) -> Rules | Refused:
    if find_rule(rules, kind, rule_id) is None:
        return Refused(Refusal.NOT_FOUND, "There is no such push rule")
    changed = [change(rule) if rule["rule_id"] == rule_id else rule for rule in rules["global"][kind]]
    return {"global": {**rules["global"], kind: changed}}


def _in_use(actions: list[Any]) -> list[Any]:
    """Without the actions of former versions, which must be ignored ("Historical Actions")."""
    return [action for action in actions if action not in ("dont_notify", "coalesce")]


def _are_actions(value: object) -> bool:
    return isinstance(value, list) and all(
        isinstance(action, str) or (isinstance(action, dict) and isinstance(action.get("set_tweak"), str))
        for action in value
    )


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
