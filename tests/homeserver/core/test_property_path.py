"""Property paths: the specification's examples, and that nothing comes out that was not in."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.property_path import only_paths, parse_path


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("content.body", ("content", "body")),
        ("content.m\\.relates_to", ("content", "m.relates_to")),
        ("a\\\\.b", ("a\\", "b")),
        ("a\\xb", ("a\\xb",)),
        ("a\\", ("a\\",)),
        ("", ("",)),
    ],
)
def test_paths_are_read(text: str, path: tuple[str, ...]) -> None:
    assert parse_path(text) == path


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        (["type"], {"type": "t"}),
        (["content.a.b"], {"content": {"a": {"b": 1}}}),
        (["content", "content.a.b"], {"content": {"a": {"b": 1}, "c": 2}}),
        (["content.a.b", "content"], {"content": {"a": {"b": 1}, "c": 2}}),
        (["content.c", "content.a"], {"content": {"a": {"b": 1}, "c": 2}}),
        (["content.none", "type.none", "none"], {}),
    ],
)
def test_only_what_is_named_is_kept(paths: list[str], kept: dict[str, Any]) -> None:
    event = {"type": "t", "content": {"a": {"b": 1}, "c": 2}}
    assert only_paths(event, [parse_path(text) for text in paths]) == kept
    assert event == {"type": "t", "content": {"a": {"b": 1}, "c": 2}}


values = st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("ab."), inner, max_size=3))


def _is_part(kept: Any, whole: Any) -> bool:
    if isinstance(kept, dict) and isinstance(whole, dict):
        return all(name in whole and _is_part(value, whole[name]) for name, value in kept.items())
    return bool(kept == whole)


@given(st.dictionaries(st.sampled_from("ab."), values), st.lists(st.text("ab.\\", max_size=7), max_size=4))
def test_what_is_kept_is_a_part(value: dict[str, Any], paths: list[str]) -> None:
    assert _is_part(only_paths(value, [parse_path(text) for text in paths]), value)
