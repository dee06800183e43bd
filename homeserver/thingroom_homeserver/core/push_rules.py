"""Push rules, compiled once and asked for each event: which actions an event has for a user.

Pure. A rule set is asked in two steps, so that many users share the first: `decide` settles everything that is the
same for all users with the same rules, `actions_for` what depends on the user (their id, their display name).
Source: Client-Server API, "Push Rules"; appendices, "Glob-style matching", "Dot-separated property paths".
Next: core/glob.py. Unknown conditions, and those that make no sense, never match.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from thingroom_homeserver.core.glob import matches_whole, matches_words

KINDS = ("override", "content", "room", "sender", "underride")
"""The kinds of rules in the order in which they are asked."""

Actions = tuple[Any, ...]
NOTHING: Actions = ()

_MISSING = object()
_IS = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,18})")
_COMPARE: Mapping[str, Callable[[int, int], bool]] = {
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_MAX_INTEGER = 2**53 - 1
_TYPES_REMEMBERED = 256
_IGNORED_ACTIONS = ("dont_notify", "coalesce")


class Situation(Protocol):
    """An event and what conditions ask about its room."""

    @property
    def event(self) -> Mapping[str, Any]:
        """The event as JSON: type, content, sender, room_id, state_key where it has one."""
        ...

    def member_count(self) -> int:
        """How many users are joined."""
        ...

    def may_notify(self, key: str) -> bool:
        """Whether the sender has the power to trigger notifications of that kind (`room`)."""
        ...


@dataclass(frozen=True, slots=True)
class Member:
    """The user who is asked about. `display_name` looks up their name in the room."""

    user_id: str
    display_name: Callable[[], str | None]


OfMember = Callable[[Member], bool]
Answer = bool | OfMember
Condition = Callable[[Situation], Answer]


@dataclass(frozen=True, slots=True)
class _Rule:
    """`event_type`: the lower-case type that the rule is for, None where it may be for any; `conditions`: the rest."""

    conditions: tuple[Condition, ...]
    actions: Actions
    event_type: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a rule set says of an event: the first of `special` whose conditions hold for a user, else `actions`."""

    actions: Actions
    special: tuple[tuple[tuple[OfMember, ...], Actions], ...] = ()

    def actions_for(self, member: Member) -> Actions:
        for conditions, actions in self.special:
            if all(condition(member) for condition in conditions):
                return actions
        return self.actions


class PushRules:
    """A compiled rule set, the same for all users who differ in nothing but their id."""

    __slots__ = ("__weakref__", "_by_type", "_rules")

    def __init__(self, rules: tuple[_Rule, ...]) -> None:
        self._rules = rules
        self._by_type: dict[str, tuple[_Rule, ...]] = {}

    def decide(self, situation: Situation) -> Decision:
        """The event's actions. Costs one evaluation, however many users share the rules."""
        special: list[tuple[tuple[OfMember, ...], Actions]] = []
        for rule in self._rules_for(situation.event["type"]):
            of_member: list[OfMember] = []
            for condition in rule.conditions:
                answer = condition(situation)
                if answer is False:
                    break
                if answer is not True:
                    of_member.append(answer)
            else:
                if not of_member:
                    return Decision(rule.actions, tuple(special))
                special.append((tuple(of_member), rule.actions))
        return Decision(NOTHING, tuple(special))

    def _rules_for(self, event_type: str) -> tuple[_Rule, ...]:
        """Those that may match an event of the type."""
        found = self._by_type.get(event_type)
        if found is None:
            lowered = event_type.lower()
            found = tuple(rule for rule in self._rules if rule.event_type is None or rule.event_type == lowered)
            if len(self._by_type) >= _TYPES_REMEMBERED:
                self._by_type.clear()
            self._by_type[event_type] = found
        return found


def notifies(actions: Actions) -> bool:
    return "notify" in actions


def tweaks_of(actions: Actions) -> dict[str, Any]:
    """The `tweaks` of a notification. A highlight without a value is true."""
    tweaks: dict[str, Any] = {}
    for action in actions:
        if isinstance(action, dict) and isinstance(name := action.get("set_tweak"), str):
            if "value" in action:
                tweaks[name] = action["value"]
            elif name == "highlight":
                tweaks[name] = True
    return tweaks


def highlights(actions: Actions) -> bool:
    return tweaks_of(actions).get("highlight") is True


def compile_rules(content: object, user_id: str) -> PushRules:
    """The rules of an m.push_rules content. Whatever is malformed in it is left out."""
    sets = content.get("global") if isinstance(content, dict) else None
    if not isinstance(sets, dict):
        return PushRules(())
    compiled = []
    for kind in KINDS:
        rules = sets.get(kind)
        for rule in rules if isinstance(rules, list) else ():
            if isinstance(rule, dict) and rule.get("enabled", True) is True:
                made = _compile(kind, rule, user_id)
                if made is not None:
                    compiled.append(made)
    return PushRules(tuple(compiled))


def without_user(content: object, user_id: str) -> object:
    """`content` with the user's own id marked as such: equal for users whose rules compile to the same."""
    if isinstance(content, dict):
        return {key: without_user(value, user_id) for key, value in content.items()}
    if isinstance(content, list):
        return [without_user(value, user_id) for value in content]
    return {"": "the user"} if content == user_id else content


def path_of(key: str) -> tuple[str, ...]:
    r"""The names in a dotted path: `a\.b.c` is ("a.b", "c"); a backslash before anything else is itself."""
    names, name, position = [], "", 0
    while position < len(key):
        character = key[position]
        if character == "\\" and key[position + 1 : position + 2] in (".", "\\"):
            name += key[position + 1]
            position += 1
        elif character == ".":
            names.append(name)
            name = ""
        else:
            name += character
        position += 1
    return (*names, name)


def property_at(event: Mapping[str, Any], path: tuple[str, ...]) -> object:
    """The value there, or a value that equals nothing."""
    value: Any = event
    for name in path:
        if not isinstance(value, dict):
            return _MISSING
        value = value.get(name, _MISSING)
    return value


def _actions(rule: Mapping[str, Any]) -> Actions:
    actions = rule.get("actions")
    if not isinstance(actions, list):
        return NOTHING
    return tuple(action for action in actions if action not in _IGNORED_ACTIONS)


def _type_of(condition: Mapping[str, Any]) -> str | None:
    """The one event type that a condition lets through, in lower case; None if it is another condition."""
    key, pattern = condition.get("key"), condition.get("pattern")
    if condition.get("kind") != "event_match" or key != "type" or not isinstance(pattern, str):
        return None
    return None if "*" in pattern or "?" in pattern else pattern.lower()


def _compile(kind: str, rule: Mapping[str, Any], user_id: str) -> _Rule | None:
    """The rule, its cheap conditions first; None if it can never match."""
    if kind in ("override", "underride"):
        listed = rule.get("conditions", [])
    elif kind == "content":
        listed = [{"kind": "event_match", "key": "content.body", "pattern": rule.get("pattern")}]
    else:
        place = "room_id" if kind == "room" else "sender"
        listed = [{"kind": "event_property_is", "key": place, "value": rule.get("rule_id")}]
    if not isinstance(listed, list) or not all(isinstance(condition, dict) for condition in listed):
        return None
    event_type: str | None = None
    compiled: list[tuple[int, Condition]] = []
    for condition in listed:
        if event_type is None and (event_type := _type_of(condition)) is not None:
            continue
        name = condition.get("kind")
        maker = _MAKERS.get(name) if isinstance(name, str) else None
        made = None if maker is None else maker(condition, user_id)
        if made is None:
            return None
        compiled.append((name in _DEAR, made))
    ordered = tuple(condition for _, condition in sorted(compiled, key=lambda pair: pair[0]))
    return _Rule(ordered, _actions(rule), event_type)


_DEAR = frozenset({"room_member_count", "sender_notification_permission", "contains_display_name"})
"""Conditions that ask more than the event."""


def _event_match(condition: Mapping[str, Any], user_id: str) -> Condition | None:
    key, pattern = condition.get("key"), condition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return None
    path = path_of(key)
    if pattern == user_id:

        def is_member(situation: Situation) -> Answer:
            value = property_at(situation.event, path)
            if not isinstance(value, str):
                return False
            text = value.lower()
            if path == ("content", "body"):
                return lambda member: matches_words(member.user_id.lower(), text)
            return lambda member: text == member.user_id.lower()

        return is_member
    lowered = pattern.lower()
    matches = matches_words if path == ("content", "body") else matches_whole
    if "*" not in lowered and "?" not in lowered and matches is matches_whole:
        # Nearly all patterns are plain words: a comparison is enough.
        def equals(situation: Situation) -> Answer:
            value = property_at(situation.event, path)
            return isinstance(value, str) and (value == lowered or value.lower() == lowered)

        return equals

    def match(situation: Situation) -> Answer:
        value = property_at(situation.event, path)
        return isinstance(value, str) and matches(lowered, value.lower())

    return match


def _event_property_is(condition: Mapping[str, Any], user_id: str) -> Condition | None:
    key, value = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_plain(value):
        return None
    path = path_of(key)
    if value == user_id:

        def is_member(situation: Situation) -> Answer:
            found = property_at(situation.event, path)
            return isinstance(found, str) and (lambda member: member.user_id == found)

        return is_member
    return lambda situation: _same(property_at(situation.event, path), value)


def _event_property_contains(condition: Mapping[str, Any], user_id: str) -> Condition | None:
    key, value = condition.get("key"), condition.get("value", _MISSING)
    if not isinstance(key, str) or not _is_plain(value):
        return None
    path = path_of(key)
    if value == user_id:

        def has_member(situation: Situation) -> Answer:
            found = property_at(situation.event, path)
            names = frozenset(entry for entry in found if isinstance(entry, str)) if isinstance(found, list) else None
            return bool(names) and (lambda member: member.user_id in (names or ()))

        return has_member

    def contains(situation: Situation) -> Answer:
        found = property_at(situation.event, path)
        return isinstance(found, list) and any(_same(entry, value) for entry in found)

    return contains


def _contains_display_name(condition: Mapping[str, Any], user_id: str) -> Condition:
    def names(situation: Situation) -> Answer:
        body = property_at(situation.event, ("content", "body"))
        if not isinstance(body, str):
            return False
        text = body.lower()

        def named(member: Member) -> bool:
            name = member.display_name()
            # A name is no pattern: what is special in patterns stands for itself.
            return bool(name) and matches_words((name or "").lower(), text, literal=True)

        return named

    return names


def _room_member_count(condition: Mapping[str, Any], user_id: str) -> Condition | None:
    wanted = condition.get("is")
    match = _IS.fullmatch(wanted) if isinstance(wanted, str) else None
    if match is None:
        return None
    compare, number = _COMPARE[match[1] or "=="], int(match[2])
    return lambda situation: compare(situation.member_count(), number)


def _sender_notification_permission(condition: Mapping[str, Any], user_id: str) -> Condition | None:
    key = condition.get("key")
    return (lambda situation: situation.may_notify(key)) if isinstance(key, str) else None


_MAKERS: Mapping[str, Callable[[Mapping[str, Any], str], Condition | None]] = {
    "event_match": _event_match,
    "event_property_is": _event_property_is,
    "event_property_contains": _event_property_contains,
    "contains_display_name": _contains_display_name,
    "room_member_count": _room_member_count,
    "sender_notification_permission": _sender_notification_permission,
}


def _is_plain(value: object) -> bool:
    if type(value) is int:
        return -_MAX_INTEGER <= value <= _MAX_INTEGER
    return value is None or isinstance(value, str | bool)


def _same(value: object, wanted: object) -> bool:
    """Equal without any casting: true is not 1."""
    return type(value) is type(wanted) and value == wanted
