"""The order in which events that came together are received: whatever was sent, ancestors first, none lost."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.federation.event_fetching import objects_in, strings_in
from thingroom_homeserver.federation.intake import in_graph_order

_PLAIN = Event("$x", "!r", "m.room.message", None, "@a:b", {}, 0, 0, (), (), None, {}, {}, "12")
NAMES = [f"${letter}" for letter in "abcdefgh"]
GRAPHS = st.lists(st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from([*NAMES, "$elsewhere"]), max_size=4)))


def event(name: str, previous: list[str]) -> Event:
    return replace(_PLAIN, event_id=name, prev_event_ids=tuple(previous))


@given(GRAPHS)
def test_none_is_lost_and_ancestors_come_first(graph: list[tuple[str, list[str]]]) -> None:
    events = [event(name, previous) for name, previous in graph]
    ordered = in_graph_order(events)
    assert {each.event_id for each in ordered} == {name for name, _ in graph}
    assert len({each.event_id for each in ordered}) == len(ordered)
    places = {each.event_id: place for place, each in enumerate(ordered)}
    circular = _in_or_after_a_cycle({each.event_id: each.prev_event_ids for each in ordered})
    for each in ordered:
        for previous in each.prev_event_ids:
            if previous in places and each.event_id not in circular:
                assert places[previous] < places[each.event_id]


def _in_or_after_a_cycle(previous: dict[str, tuple[str, ...]]) -> set[str]:
    """The events that cannot be put after all of their ancestors."""
    free: set[str] = set()
    while True:
        more = {name for name, prevs in previous.items() if all(each in free or each not in previous for each in prevs)}
        if more <= free:
            return previous.keys() - free
        free |= more


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=5))


@given(JSON, st.integers(0, 5))
def test_lists_of_anything_are_read(value: object, limit: int) -> None:
    assert all(isinstance(each, dict) for each in objects_in(value, limit))
    assert len(objects_in(value, limit)) <= limit
    found = strings_in(value, limit)
    assert len(found) <= limit
    assert len(set(found)) == len(found)
