"""Push rules against the specification's examples, and properties of globs and of the shared evaluation."""

from __future__ import annotations

import fnmatch
import re
import time
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.accounts.push_rules import default_push_rules
from thingroom_homeserver.core.glob import matches_whole, matches_words
from thingroom_homeserver.core.push_rules import (
    KINDS,
    Member,
    compile_rules,
    highlights,
    notifies,
    path_of,
    tweaks_of,
    without_user,
)

ME = "@me:example.org"


@dataclass
class Situation:
    event: dict[str, Any]
    members: int = 3
    power: dict[str, bool] = field(default_factory=dict)

    def member_count(self) -> int:
        return self.members

    def may_notify(self, key: str) -> bool:
        return self.power.get(key, False)


def event(content: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "m.room.message", "sender": "@a:b", "room_id": "!r:b", "content": content or {}, **more}


def actions(rules: Any, situation: Situation, user_id: str = ME, name: str | None = None) -> tuple[Any, ...]:
    return compile_rules(rules, user_id).decide(situation).actions_for(Member(user_id, lambda: name))


def matches(condition: Any, what: dict[str, Any], *, name: str | None = None, **situation: Any) -> bool:
    rule = {"rule_id": "x", "enabled": True, "conditions": [condition], "actions": ["notify"]}
    return notifies(actions({"global": {"override": [rule]}}, Situation(what, **situation), name=name))


@pytest.mark.parametrize(
    ("topic", "expected"),
    [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False), (None, False), (["lunch"], False)],
)
def test_event_match(topic: Any, expected: bool) -> None:
    condition = {"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"}
    assert matches(condition, event({"topic": topic})) is expected


@pytest.mark.parametrize(
    ("body", "pattern", "expected"),
    [
        ("An example event.", "ex*ple", True),
        ("exple", "ex*ple", True),
        ("An exciting triple-whammy", "ex*ple", True),
        ("An unexample", "ex*ple", False),
        ("an examples", "ex*ple", False),
        ("It's time for tea", "tea", True),
        ("steam", "tea", False),
        ("tea_time", "tea", False),
        ("tea-time", "TEA", True),
        ("Ätea", "tea", True),
        ("the end", "*", True),
        ("a\nb", "a?b", True),
        ("a.b", "a.b", True),
        ("axb", "a.b", False),
    ],
)
def test_the_body_is_matched_by_words(body: str, pattern: str, expected: bool) -> None:
    condition = {"kind": "event_match", "key": "content.body", "pattern": pattern}
    assert matches(condition, event({"body": body})) is expected
    rule = {"rule_id": "x", "enabled": True, "pattern": pattern, "actions": ["notify"]}
    assert notifies(actions({"global": {"content": [rule]}}, Situation(event({"body": body})))) is expected


@pytest.mark.parametrize(
    ("value", "found", "expected"),
    [(True, True, True), (True, "true", False), (True, 1, False), (1, True, False), (1, 1, True), (1, 1.0, False),
     (None, None, True), ("x", "X", False), ([], [], False), ({}, {}, False), (2**53, 2**53, False)],
)  # fmt: skip
def test_event_property_is(value: Any, found: Any, expected: bool) -> None:
    condition = {"kind": "event_property_is", "key": "content.m\\.federate", "value": value}
    assert matches(condition, event({"m.federate": found})) is expected
    assert not matches(condition, event({}))


def test_event_property_contains() -> None:
    key = {"kind": "event_property_contains", "key": "content.alt_aliases"}
    aliases = event({"alt_aliases": ["#a:b", 1, True, None, {}]})
    for value in ("#a:b", 1, True, None):
        assert matches({**key, "value": value}, aliases)
    for value in (":b", 0, False, "#A:B"):
        assert not matches({**key, "value": value}, aliases)
    assert not matches({**key, "value": "#a:b"}, event({"alt_aliases": "#a:b"}))


def test_contains_display_name() -> None:
    condition = {"kind": "contains_display_name"}
    for name, body, expected in (
        ("Me", "hello ME!", True),
        ("Me", "hello meme", False),
        ("M*e", "hello mxe", False),
        ("", "hello", False),
        (None, "hello", False),
    ):
        assert matches(condition, event({"body": body}), name=name) is expected


@pytest.mark.parametrize(
    ("wanted", "counts"),
    [("2", {2}), ("==2", {2}), ("<2", {0, 1}), (">2", {3}), ("<=2", {0, 1, 2}), (">=2", {2, 3}),
     ("x", set()), ("!2", set()), (2, set()), (None, set()), ("", set()), ("9" * 30, set())],
)  # fmt: skip
def test_room_member_count(wanted: Any, counts: set[int]) -> None:
    condition = {"kind": "room_member_count", "is": wanted}
    assert {number for number in range(4) if matches(condition, event(), members=number)} == counts


def test_sender_notification_permission() -> None:
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert matches(condition, event(), power={"room": True})
    assert not matches(condition, event())


@pytest.mark.parametrize("condition", [{"kind": "org.example.odd"}, {}, None, {"kind": ["x"]}, {"kind": "event_match"}])
def test_unknown_conditions_never_match(condition: Any) -> None:
    assert not matches(condition, event({"body": "x"}))


def test_kinds_are_asked_in_their_order() -> None:
    def rule(rule_id: str, tweak: str, **more: Any) -> dict[str, Any]:
        return {
            "rule_id": rule_id,
            "enabled": True,
            "actions": ["notify", {"set_tweak": "sound", "value": tweak}],
            **more,
        }

    sets: dict[str, Any] = {
        "underride": [rule("u", "underride", conditions=[])],
        "sender": [rule("@a:b", "sender")],
        "room": [rule("!r:b", "room")],
        "content": [rule("c", "content", pattern="x")],
        "override": [rule("o", "override", conditions=[])],
    }
    for kind in ("override", "content", "room", "sender", "underride"):
        assert tweaks_of(actions({"global": sets}, Situation(event({"body": "x"})))) == {"sound": kind}
        sets[kind][0]["enabled"] = False
    assert actions({"global": sets}, Situation(event({"body": "x"}))) == ()


def test_actions_and_tweaks() -> None:
    assert tweaks_of(("notify", {"set_tweak": "highlight"}, {"set_tweak": "org.x", "value": 1})) == {
        "highlight": True,
        "org.x": 1,
    }
    assert highlights(({"set_tweak": "highlight"},)) and not highlights(({"set_tweak": "highlight", "value": False},))
    rules = {"global": {"override": [{"rule_id": "x", "enabled": True, "conditions": [], "actions": ["dont_notify"]}]}}
    assert actions(rules, Situation(event())) == ()


@pytest.mark.parametrize(
    ("what", "more", "expected"),
    [
        (event({"body": "x", "msgtype": "m.text"}), {}, ["notify"]),
        (event({"body": "x"}), {"members": 2}, ["notify", {"set_tweak": "sound", "value": "default"}]),
        (event({"msgtype": "m.notice", "m.mentions": {"user_ids": [ME]}}), {}, []),
        (event(type="m.room.encrypted"), {}, ["notify"]),
        (event(type="m.call.invite"), {}, ["notify", {"set_tweak": "sound", "value": "ring"}]),
        (event({"membership": "invite"}, type="m.room.member", state_key=ME), {},
         ["notify", {"set_tweak": "sound", "value": "default"}]),
        (event({"membership": "invite"}, type="m.room.member", state_key="@x:y"), {}, []),
        (event({"m.mentions": {"user_ids": [ME, 5]}}), {},
         ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}]),
        (event({"m.mentions": {"room": True}}), {"power": {"room": True}}, ["notify", {"set_tweak": "highlight"}]),
        (event({"m.mentions": {"room": True}}), {}, ["notify"]),
        (event(type="m.room.tombstone", state_key=""), {}, ["notify", {"set_tweak": "highlight"}]),
        (event(type="m.room.tombstone"), {}, []),
        (event(type="m.reaction"), {}, []),
        (event(type="m.room.server_acl", state_key=""), {}, []),
        (event({"m.relates_to": {"rel_type": "m.replace"}}), {}, []),
        (event(type="org.example.reading"), {}, []),
    ],
)  # fmt: skip
def test_the_default_rules(what: dict[str, Any], more: dict[str, Any], expected: list[Any]) -> None:
    assert list(actions(default_push_rules(ME), Situation(what, **more))) == expected


def test_users_with_the_same_rules_share_them() -> None:
    assert without_user(default_push_rules(ME), ME) == without_user(default_push_rules("@x:y"), "@x:y")
    compiled = compile_rules(default_push_rules(ME), ME)
    decision = compiled.decide(Situation(event({"m.mentions": {"user_ids": ["@x:y"]}})))
    assert highlights(decision.actions_for(Member("@x:y", lambda: None)))
    assert not highlights(decision.actions_for(Member(ME, lambda: None)))
    assert compiled.decide(Situation(event({"body": "x"}))).special == ()


def test_paths() -> None:
    assert path_of("content.body") == ("content", "body")
    assert path_of("content.m\\.relates_to.x") == ("content", "m.relates_to", "x")
    assert path_of("a\\\\.b") == ("a\\", "b")
    assert path_of("a\\x.b\\") == ("a\\x", "b\\")


LETTERS = st.text(alphabet="ab?*-", max_size=8)
TEXT = st.text(alphabet="ab- ", max_size=10)


@given(LETTERS, TEXT)
def test_whole_globs_agree_with_another_implementation(pattern: str, text: str) -> None:
    assert matches_whole(pattern, text) == fnmatch.fnmatchcase(text, pattern)


@given(LETTERS, TEXT)
def test_globs_in_words_agree_with_a_regular_expression(pattern: str, text: str) -> None:
    parts = {"*": ".*?", "?": "."}
    expression = "".join(parts.get(character, re.escape(character)) for character in pattern)
    expected = re.search(f"(?<![A-Za-z0-9_]){expression}(?![A-Za-z0-9_])", text, re.DOTALL) is not None
    assert matches_words(pattern, text) == expected


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.process_time()
    assert not matches_whole("*a" * 50 + "b", "a" * 50_000)
    assert not matches_words("a*" * 50 + "b", "a" * 50_000)
    assert time.process_time() - began < 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text(max_size=5) | st.just(ME),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
CONDITION = st.fixed_dictionaries(
    {},
    optional={
        "kind": st.sampled_from(
            ["event_match", "event_property_is", "event_property_contains", "contains_display_name",
             "room_member_count", "sender_notification_permission"]
        ) | JSON,
        "key": st.sampled_from(["content.body", "type", "content.x", "sender"]) | JSON,
        "pattern": JSON, "value": JSON, "is": JSON,
    },
)  # fmt: skip
RULE = st.fixed_dictionaries(
    {"actions": JSON | st.just(["notify"])},
    optional={"conditions": st.lists(CONDITION, max_size=3) | JSON, "pattern": JSON, "rule_id": JSON, "enabled": JSON},
)


@given(
    st.dictionaries(st.sampled_from(KINDS), st.lists(RULE | JSON) | JSON),
    st.dictionaries(st.sampled_from(["body", "x"]), JSON),
)
def test_any_rules_give_actions_for_any_event(rules: Any, content: dict[str, Any]) -> None:
    assert isinstance(actions({"global": rules}, Situation(event(content))), tuple)
    without_user(rules, ME)
