"""Account data, tags, filters and push rules."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.accounts import push_rules
from thingroom_homeserver.accounts.filters import why_unfit
from thingroom_homeserver.accounts.outcomes import Refused

ROOM = "!room:localhost"


@pytest.mark.parametrize("place", ["account_data", f"rooms/{escape(ROOM)}/account_data"])
async def test_account_data_are_kept_and_synced(alice: MatrixClient, bob: MatrixClient, place: str) -> None:
    path = f"v3/user/{escape(alice.user_id)}/{place}/org.example.x"
    (await alice.get(path)).is_error(404, "M_NOT_FOUND")
    (await alice.put(path, {"n": 1})).ok()
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    (await alice.put(path, {"n": 2})).ok()
    assert (await alice.get(path)).ok() == {"n": 2}
    if place == "account_data":
        events = (await alice.get("v3/sync", since=since)).ok()["account_data"]["events"]
        assert events == [{"type": "org.example.x", "content": {"n": 2}}]
    (await bob.get(path)).is_error(403, "M_FORBIDDEN")
    (await bob.put(path, {})).is_error(403, "M_FORBIDDEN")
    (await alice.request("PUT", path, b"[]")).is_error(400, "M_BAD_JSON")


async def test_account_data_that_the_server_keeps(alice: MatrixClient) -> None:
    for kind in ("m.fully_read", "m.push_rules"):
        for place in ("account_data", f"rooms/{escape(ROOM)}/account_data"):
            answer = await alice.put(f"v3/user/{escape(alice.user_id)}/{place}/{kind}", {})
            answer.is_error(405, "M_BAD_JSON")
    answer = await alice.put(f"v3/user/{escape(alice.user_id)}/rooms/nonsense/account_data/x", {})
    answer.is_error(400, "M_INVALID_PARAM")


async def test_a_waiting_sync_hears_of_account_data(alice: MatrixClient) -> None:
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    waiting = asyncio.create_task(alice.get("v3/sync", since=since, timeout=10_000))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    (await alice.put(f"v3/user/{escape(alice.user_id)}/account_data/org.example.x", {"n": 1})).ok()
    assert (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).ok()["account_data"]["events"]


async def test_tags(alice: MatrixClient, bob: MatrixClient) -> None:
    base = f"v3/user/{escape(alice.user_id)}/rooms/{escape(ROOM)}/tags"
    assert (await alice.get(base)).ok() == {"tags": {}}
    (await alice.put(f"{base}/m.favourite", {"order": 0.25})).ok()
    (await alice.put(f"{base}/{escape('u.a/b')}", {})).ok()
    assert (await alice.get(base)).ok() == {"tags": {"m.favourite": {"order": 0.25}, "u.a/b": {}}}
    (await alice.delete(f"{base}/m.favourite")).ok()
    (await alice.delete(f"{base}/never")).ok()
    assert (await alice.get(base)).ok() == {"tags": {"u.a/b": {}}}
    stored = await alice.get(f"v3/user/{escape(alice.user_id)}/rooms/{escape(ROOM)}/account_data/m.tag")
    assert stored.ok() == {"tags": {"u.a/b": {}}}
    (await bob.get(base)).is_error(403, "M_FORBIDDEN")
    (await alice.put(f"{base}/{'x' * 300}", {})).is_error(400, "M_INVALID_PARAM")


async def test_filters(alice: MatrixClient, bob: MatrixClient) -> None:
    base = f"v3/user/{escape(alice.user_id)}/filter"
    definition = {"room": {"timeline": {"limit": 5, "types": ["m.room.message"]}}, "org.example.other": 1}
    filter_id = (await alice.post(base, definition)).ok()["filter_id"]
    assert isinstance(filter_id, str)
    assert (await alice.get(f"{base}/{filter_id}")).ok() == definition
    assert (await alice.post(base, definition)).ok()["filter_id"] == filter_id
    assert (await alice.post(base, {})).ok()["filter_id"] != filter_id
    (await bob.get(f"{base}/{filter_id}")).is_error(403, "M_FORBIDDEN")
    for unknown in ("999", "nonsense", "-1", "9" * 40):
        (await alice.get(f"{base}/{unknown}")).is_error(404, "M_NOT_FOUND")
    for bad in ({"room": []}, {"room": {"timeline": {"limit": "5"}}}, {"event_format": "odd"}, {"event_fields": "x"}):
        (await alice.post(base, bad)).is_error(400, "M_BAD_JSON")
    (await alice.post(base, {"x": "y" * 40_000})).is_error(400, "M_TOO_LARGE")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(
    st.dictionaries(st.sampled_from(["room", "presence", "event_fields", "event_format", "x"]), JSON).filter(
        lambda value: "\ud800" not in repr(value)
    )
)
def test_any_filter_is_taken_or_refused(definition: dict[str, object]) -> None:
    try:
        outcome = why_unfit(definition)
    except TypeError:
        pytest.fail("a filter may be refused, not fail")
    assert outcome is None or isinstance(outcome, Refused)


async def test_push_rules_are_there_from_the_start_and_in_sync(alice: MatrixClient) -> None:
    rules = (await alice.get("v3/pushrules/")).ok()
    assert rules["global"]["override"][0]["rule_id"] == ".m.rule.master"
    assert (await alice.get("v3/pushrules/global/")).ok() == rules["global"]
    events = (await alice.get("v3/sync")).ok()["account_data"]["events"]
    assert {"type": "m.push_rules", "content": rules} in events
    mention = (await alice.get("v3/pushrules/global/override/.m.rule.is_user_mention")).ok()
    assert mention["conditions"][0]["value"] == alice.user_id
    path = "v3/pushrules/global/underride/.m.rule.message"
    assert (await alice.get(f"{path}/enabled")).ok() == {"enabled": True}
    assert (await alice.get(f"{path}/actions")).ok() == {"actions": ["notify"]}
    (await alice.get("v3/pushrules/global/underride/none")).is_error(404, "M_NOT_FOUND")


async def test_push_rules_are_changed(alice: MatrixClient) -> None:
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    path = "v3/pushrules/global/underride/.m.rule.message"
    (await alice.put(f"{path}/enabled", {"enabled": False})).ok()
    (await alice.put(f"{path}/actions", {"actions": [{"set_tweak": "highlight"}]})).ok()
    assert (await alice.get(path)).ok()["enabled"] is False
    assert (await alice.get(f"{path}/actions")).ok() == {"actions": [{"set_tweak": "highlight"}]}
    events = (await alice.get("v3/sync", since=since)).ok()["account_data"]["events"]
    assert [event["type"] for event in events] == ["m.push_rules"]
    (await alice.put(f"{path}/actions", {"actions": "notify"})).is_error(400, "M_BAD_JSON")
    (await alice.put("v3/pushrules/global/underride/none/enabled", {"enabled": True})).is_error(404, "M_NOT_FOUND")
    (await alice.put("v3/pushrules/global/odd/x/enabled", {"enabled": True})).is_error(400, "M_INVALID_PARAM")


async def test_own_push_rules(alice: MatrixClient) -> None:
    base = "v3/pushrules/global/content"
    (await alice.put(f"{base}/tea", {"pattern": "tea*", "actions": ["notify"]})).ok()
    (await alice.put(f"{base}/cake", {"pattern": "cake", "actions": []}, after="tea")).ok()
    (await alice.put(f"{base}/milk", {"pattern": "milk", "actions": []}, before="cake")).ok()
    rules = (await alice.get("v3/pushrules/")).ok()["global"]["content"]
    assert [rule["rule_id"] for rule in rules] == ["tea", "milk", "cake"]
    (await alice.put(f"{base}/x", {"pattern": "x", "actions": []}, before="none")).is_error(400, "M_UNKNOWN")
    (await alice.put(f"{base}/x", {"actions": []})).is_error(400, "M_BAD_JSON")
    (await alice.put(f"{base}/.x", {"pattern": "x", "actions": []})).is_error(400, "M_INVALID_PARAM")
    (await alice.delete(f"{base}/milk")).ok()
    (await alice.delete(f"{base}/milk")).is_error(404, "M_NOT_FOUND")
    predefined = "v3/pushrules/global/override/.m.rule.master"
    (await alice.delete(predefined)).is_error(400, "M_INVALID_PARAM")
    (await alice.put("v3/pushrules/global/override/own", {"actions": [], "conditions": []})).ok()
    override = (await alice.get("v3/pushrules/")).ok()["global"]["override"]
    assert [rule["rule_id"] for rule in override][:2] == [".m.rule.master", "own"]


def test_a_replaced_rule_keeps_its_place_and_switch() -> None:
    rules = push_rules.default_push_rules("@a:b")
    for name in ("one", "two"):
        rule = push_rules.rule_of("content", name, {"pattern": name, "actions": []})
        rules = push_rules.added(rules, "content", rule, push_rules.Place())
    rules = push_rules.with_enabled(rules, "content", "one", False)
    changed = push_rules.rule_of("content", "one", {"pattern": "other", "actions": ["notify"]})
    rules = push_rules.added(rules, "content", changed, push_rules.Place())
    assert [rule["rule_id"] for rule in rules["global"]["content"]] == ["two", "one"]
    assert push_rules.find_rule(rules, "content", "one") == {**changed, "enabled": False}
