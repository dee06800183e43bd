"""Server ACLs and globs, against the rules as the specification words them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.glob import matches_whole
from thingroom_homeserver.core.server_acl import server_allowed


@pytest.mark.parametrize(
    ("content", "server", "allowed"),
    [
        (None, "anyone.test", True),
        ({}, "anyone.test", False),
        ({"allow": ["*"]}, "anyone.test", True),
        ({"allow": ["*"], "deny": ["evil.test"]}, "evil.test", False),
        ({"allow": ["*"], "deny": ["evil.test"]}, "evil.test:8448", False),
        ({"allow": ["*"], "deny": ["EVIL.test"]}, "evil.TEST:1", False),
        ({"allow": ["*"], "deny": ["*.evil.test"]}, "evil.test", True),
        ({"allow": ["*"], "deny": ["*.evil.test"]}, "a.b.evil.test", False),
        ({"allow": ["*"], "deny": ["evi?.test"]}, "evil.test", False),
        ({"allow": ["*"], "deny": ["evi?.test"]}, "evill.test", True),
        ({"allow": ["good.test"]}, "good.test:443", True),
        ({"allow": ["good.test"]}, "goodxtest", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "1.2.3.4", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "1.2.3.4:80", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "[2001:db8::1]:80", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "[2001:db8::1]", False),
        ({"allow": ["*"], "allow_ip_literals": False}, "1.2.3.4.test", True),
        ({"allow": ["*"], "allow_ip_literals": "false"}, "1.2.3.4", True),
        ({"allow": ["*"], "allow_ip_literals": True, "deny": ["1.2.3.*"]}, "1.2.3.4", False),
        ({"allow": "*"}, "anyone.test", False),
        ({"allow": [5, None, "*"], "deny": {"a": 1}}, "anyone.test", True),
    ],
)
def test_who_is_allowed(content: dict | None, server: str, allowed: bool) -> None:
    assert server_allowed(content, server) is allowed


@given(st.text("ab*?.[", max_size=12), st.text("ab.[", max_size=12))
def test_globs_mean_what_the_regular_expression_means(pattern: str, text: str) -> None:
    expression = "".join({"*": ".*", "?": "."}.get(character, re.escape(character)) for character in pattern)
    assert matches_whole(pattern, text) == (re.fullmatch(expression, text, re.DOTALL) is not None)


def test_a_hostile_glob_costs_little() -> None:
    started = time.process_time()
    assert not matches_whole("*a" * 120, "a" * 119 + "b")
    assert not matches_whole("*" * 10_000 + "b", "a" * 255)
    assert time.process_time() - started < 4
