"""The grammar of identifiers: the specification's examples, historical users, limits in bytes, any text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.identifiers import (
    is_domainless_room_id,
    is_valid_event_id,
    is_valid_new_localpart,
    is_valid_room_alias,
    is_valid_room_id,
    is_valid_server_name,
    is_valid_user_id,
    localpart_of,
    parse_event_id,
    parse_user_id,
    server_name_of,
)

HASH = "31hneApxJ_1o-63DmFrpeqnkFfWppnzWso1JvH3ogLM"


@pytest.mark.parametrize(
    "name",
    [
        *("matrix.org", "matrix.org:8888", "1.2.3.4", "1.2.3.4:1234", "[1234:5678::abcd]", "[1234:5678::abcd]:5678"),
        *("localhost", "a-b.c", "EXAMPLE.org", "hs1:1", "[::ffff:1.2.3.4]"),
    ],
)
def test_server_names(name: str):
    assert is_valid_server_name(name)
    assert parse_user_id(f"@alice:{name}") == ("alice", name)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            ":80",
            "a:",
            "a:123456",
            "a:b",
            "a b",
            "a_b",
            "ä.org",
            "a/b",
            "[::1",
            "::1",
            "[::1]x",
            "[1:2]",
            "[.....]",
        ),
        *("a\n", "a:1\n", "x" * 256, "a:１"),
    ],
)
def test_not_server_names(name: str):
    assert not is_valid_server_name(name)
    assert not is_valid_user_id(f"@alice:{name}")


@pytest.mark.parametrize(
    "user_id", ["@alice:one.test", "@:one.test", "@Alice Ü/\x01:one.test", "@thing_0a:one.test:8448", "@é😀:one.test"]
)
def test_user_ids_historical_ones_included(user_id: str):
    assert is_valid_user_id(user_id)
    assert localpart_of(user_id) == user_id[1:].split(":")[0]
    assert server_name_of(user_id) == user_id.split(":", 1)[1]


@pytest.mark.parametrize(
    "user_id", ["", "@", "@alice", "alice:one.test", "#alice:one.test", "@a\0b:one.test", "@\ud800:one.test", 5, None]
)
def test_not_user_ids(user_id: object):
    assert not is_valid_user_id(user_id)


def test_the_limit_counts_bytes():
    assert is_valid_user_id("@" + "a" * 245 + ":one.test")
    assert not is_valid_user_id("@" + "a" * 246 + ":one.test")
    assert is_valid_user_id("@" + "é" * 122 + "a:one.test")
    assert not is_valid_user_id("@" + "é" * 123 + ":one.test")


@pytest.mark.parametrize(
    ("localpart", "valid"),
    [
        *(("alice", True), ("a.b_c=d-e/f+0", True), ("thing_00ff", True)),
        *(("", False), ("Alice", False), ("a b", False), ("é", False), ("a:b", False), ("a\n", False)),
        *(("a" * 245, True), ("a" * 246, False)),
    ],
)
def test_localparts_of_new_accounts(localpart: str, valid: bool):
    assert is_valid_new_localpart(localpart, "one.test") is valid


@pytest.mark.parametrize(
    ("room_id", "valid", "domainless"),
    [
        *(("!" + HASH, True, True), ("!abc:one.test", True, False), ("!:one.test", True, False)),
        *(("!" + HASH[:-1], False, False), ("!" + HASH + "x", False, False), ("!" + HASH[:-1] + "+", False, False)),
        *(
            ("$" + HASH, False, False),
            ("!abc", False, False),
            ("!" + HASH + ":one.test", True, False),
            ("", False, False),
        ),
    ],
)
def test_room_ids(room_id: str, valid: bool, domainless: bool):
    assert (is_valid_room_id(room_id), is_domainless_room_id(room_id)) == (valid, domainless)


def test_event_ids():
    assert is_valid_event_id("$" + HASH) and is_valid_event_id("$x:one.test") and is_valid_event_id("$/+é")
    assert not any(is_valid_event_id(text) for text in ("", "$", "x", HASH, "$" + "x" * 255, "$" + "é" * 128, None, 5))
    assert parse_event_id("$x:one.test") == ("x", "one.test")
    assert parse_event_id("$" + HASH) is None


def test_room_aliases():
    assert is_valid_room_alias("#kitchen:one.test") and is_valid_room_alias("#küche unten:one.test:80")
    assert not any(is_valid_room_alias(text) for text in ("kitchen:one.test", "#kitchen", "#a\0:one.test", "#a:", None))


def test_an_identifier_without_a_server_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError, match="has no server name"):
        server_name_of("!" + HASH)


@given(st.text(max_size=40) | st.from_regex(r"[@#$!][^:]{0,5}:[a-z0-9:\[\].-]{0,12}"))
def test_any_text_has_an_answer(text: str):
    parsed = parse_user_id(text)
    assert is_valid_user_id(text) == (parsed is not None)
    if parsed is not None:
        assert f"@{parsed[0]}:{parsed[1]}" == text and is_valid_server_name(parsed[1])
    for check in (is_valid_room_id, is_valid_event_id, is_valid_room_alias, is_valid_server_name):
        assert check(text) in (True, False)
