"""Filters and tokens come from outside: anything may be in them."""

import asyncio
import re
import string
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.rooms.event_filter import EventFilter, FilterError, parse_event_filter
from thingroom_homeserver.rooms.tokens import SyncToken, page_token, parse_page_token, parse_sync_token
from thingroom_homeserver.sync.sync_filter import SyncFilter, parse_sync_filter

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
names = ("limit", "types", "not_types", "senders", "not_senders", "rooms", "not_rooms", "contains_url")
fields = st.sampled_from((*names, "lazy_load_members", "include_redundant_members"))
parts = st.sampled_from(("timeline", "state", "ephemeral", "account_data", "rooms", "not_rooms", "include_leave"))


def message(event_type: str = "m.room.message", sender: str = "@a:x", **content: object) -> Event:
    return Event("$e", "!r", event_type, None, sender, dict(content), 0, 1, (), (), None, {}, {}, "12")


@given(st.dictionaries(fields, json_values) | json_values)
def test_a_filter_parses_or_says_why_not(value: object) -> None:
    try:
        parsed = parse_event_filter(value)
    except FilterError:
        return
    assert isinstance(parsed, EventFilter)
    parsed.allows(message())


@given(st.dictionaries(st.just("room"), st.dictionaries(parts, st.dictionaries(fields, json_values) | json_values)))
def test_a_sync_filter_parses_or_says_why_not(value: object) -> None:
    try:
        assert isinstance(parse_sync_filter(value), SyncFilter)
    except FilterError:
        return


@given(st.text("st_-" + string.digits, max_size=45) | st.text(max_size=30))
def test_a_token_parses_or_is_none(text: str) -> None:
    token, position = parse_sync_token(text), parse_page_token(text)
    assert token is None or (token.position == position and parse_sync_token(str(token)) == token)
    assert position is None or abs(position) < 2**62


@given(st.integers(-(10**17), 10**17), st.integers(0, 10**17))
def test_tokens_come_back_as_they_were(position: int, ephemeral: int) -> None:
    assert parse_page_token(page_token(position)) == position
    token = SyncToken(abs(position), ephemeral)
    assert parse_sync_token(str(token)) == token and parse_page_token(str(token)) == token.position


@pytest.mark.parametrize(
    ("value", "passes"),
    [
        ({}, True),
        ({"types": ["m.room.*"]}, True),
        ({"types": ["m.*.message"]}, True),
        ({"types": ["m.room"]}, False),
        ({"types": []}, False),
        ({"types": ["m.room.message"], "not_types": ["*"]}, False),
        ({"types": ["m.room.messag?"]}, False),
        ({"senders": ["@a:x"]}, True),
        ({"senders": ["@a:x"], "not_senders": ["@a:x"]}, False),
        ({"contains_url": True}, False),
        ({"contains_url": False}, True),
    ],
)
def test_what_passes_a_filter(value: dict, passes: bool) -> None:
    assert parse_event_filter(value).allows(message()) is passes


@given(st.text("ab*", max_size=8), st.text("ab", max_size=10))
def test_stars_match_as_a_regular_expression_would(pattern: str, text: str) -> None:
    expected = re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), text) is not None
    assert parse_event_filter({"types": [pattern]}).allows(message(text)) is expected


@pytest.mark.parametrize("pattern", ["*a" * 100 + "*b", "*" * 400 + "b", "a*" * 120 + "b"])
def test_many_stars_take_no_time(pattern: str) -> None:
    hostile = parse_event_filter({"types": [pattern]})
    started = time.process_time()
    assert hostile.allows(message("a" * 255)) is False
    assert time.process_time() - started < 0.1


async def test_the_notifier_wakes_who_is_concerned() -> None:
    joined = {"!r": {"@a:x", "@b:x"}}
    notifier = Notifier(lambda room: joined.get(room, set()), 5)
    waits = {name: asyncio.create_task(notifier.wait(name, 5)) for name in ("@a:x", "@b:x", "@c:x", "@d:x")}
    await asyncio.sleep(0)
    notifier.publish_room("!r", 6, ("@c:x",))
    assert await waits["@a:x"] and await waits["@b:x"] and await waits["@c:x"]
    assert not waits["@d:x"].done()
    assert await notifier.wait("@a:x", 0.01) is False
    notifier.publish_user("@d:x", 7)
    assert await waits["@d:x"] and notifier.position == 7
    assert notifier.rooms_changed_since(5) == ["!r"] and notifier.rooms_changed_since(6) == []
    assert notifier.rooms_changed_since(4) is None
    last = asyncio.create_task(notifier.wait("@a:x", 60))
    await asyncio.sleep(0)
    notifier.close()
    assert await last is False and await notifier.wait("@a:x", 60) is False
