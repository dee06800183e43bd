"""State groups give back the state that was put in, however long the chain, and chains stay bounded."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.storage.current_state import StateChange, rewind
from thingroom_homeserver.storage.schema_events import EVENT_MIGRATIONS
from thingroom_homeserver.storage.state_groups import (
    MAX_CHAIN,
    MIN_CHAIN,
    StateGroup,
    add_group,
    entries_of_group,
    state_of_group,
)


@pytest.mark.parametrize(("keys", "longest"), [(5, MIN_CHAIN), (1600, 100), (20_000, MAX_CHAIN)])
async def test_chains_are_bounded_and_exact(tmp_path: Path, keys: int, longest: int) -> None:
    database = await Database.open(tmp_path / "groups.db", EVENT_MIGRATIONS)
    state = {("m.test", str(number)): f"$first{number}" for number in range(keys)}

    def write(transaction: Transaction) -> list[tuple[StateGroup, str]]:
        group = add_group(transaction, "!room", None, state, state)
        groups = []
        for number in range(longest + 5):
            key = ("m.test", str(number % keys))
            state[key] = f"$later{number}"
            group = add_group(transaction, "!room", group, {key: state[key]}, state)
            groups.append((group, state[key]))
        return groups

    groups = await database.write(write)
    assert max(group.distance for group, _ in groups) == longest - 1
    assert any(group.distance == 0 for group, _ in groups)
    for group, event_id in (groups[0], groups[longest - 2], groups[-1]):
        assert event_id in database.read(lambda c, g=group: state_of_group(c, g.id)).values()
    last = groups[-1][0].id
    assert database.read(lambda c: state_of_group(c, last)) == state
    found = database.read(lambda c: entries_of_group(c, last, [("m.test", "0"), ("m.test", "none")]))
    assert found == {("m.test", "0"): state["m.test", "0"]}
    await database.close()


keys = st.tuples(st.sampled_from(("a", "b")), st.sampled_from(("", "x")))


@settings(max_examples=100)
@given(
    st.dictionaries(keys, st.text("12", min_size=1)), st.lists(st.tuples(keys, st.none() | st.text("34", min_size=1)))
)
def test_rewinding_undoes_changes(start, steps) -> None:
    state, changes = dict(start), {}
    for key, value in steps:
        first = changes.get(key)
        changes[key] = StateChange(state.get(key) if first is None else first.before, value)
        if value is None:
            state.pop(key, None)
        else:
            state[key] = value
    assert rewind(state, changes) == start
