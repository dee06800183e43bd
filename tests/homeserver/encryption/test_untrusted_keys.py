"""Whatever JSON arrives as a key is taken or refused and never fails; of two backed up keys one is the better."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.encryption.key_support import Identity

from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.encryption.cross_signing import USAGES, CrossSigningKey, parse_key
from thingroom_homeserver.encryption.key_backup import BackedUpKey, parse_backed_up_key

ALICE = "@alice:localhost"
NAMES = st.sampled_from(["user_id", "usage", "keys", "signatures", ALICE, "ed25519:x", "is_verified", "session_data"])
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
    | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | st.text(max_size=4), inner, max_size=5),
    max_leaves=12,
)
GOOD_BACKUP = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {}}
GOOD_KEY = Identity(ALICE).master_json()


@given(JSON, st.sampled_from(USAGES))
def test_any_json_is_a_cross_signing_key_or_is_refused(value: Any, usage: str) -> None:
    assert isinstance(parse_key(value, usage, ALICE), CrossSigningKey | Refused)


@given(st.sampled_from(sorted(GOOD_KEY)), JSON)
def test_a_cross_signing_key_with_one_odd_field(name: str, value: Any) -> None:
    outcome = parse_key({**GOOD_KEY, name: value}, "master", ALICE)
    if isinstance(outcome, CrossSigningKey):
        assert outcome.json["user_id"] == ALICE and "master" in outcome.json["usage"]


@given(st.sampled_from(sorted(GOOD_BACKUP)), JSON)
def test_a_backed_up_key_with_one_odd_field(name: str, value: Any) -> None:
    key = parse_backed_up_key({**GOOD_BACKUP, name: value})
    assert key is None or (0 <= key.first_message_index < 2**53 and 0 <= key.forwarded_count < 2**53)


BACKED_UP = st.builds(BackedUpKey, st.booleans(), st.integers(0, 2), st.integers(0, 2), st.just("{}"))


@given(BACKED_UP, BACKED_UP)
def test_of_two_different_keys_exactly_one_is_better(one: BackedUpKey, other: BackedUpKey) -> None:
    def row(key: BackedUpKey) -> Any:
        return {name: getattr(key, name) for name in ("is_verified", "first_message_index", "forwarded_count")}

    better = [one.is_better_than(row(other)), other.is_better_than(row(one))]
    assert sum(better) == (0 if one == other else 1)
