"""Synapse as a second opinion: the same hashes, IDs and redactions for any event, the same verdicts in random rooms."""

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.synapse_peer.oracle_client import Oracle, running_oracle
from tests.synapse_peer.room_generator import USERS, Room, build, random_room

from thingroom_homeserver.core.auth_rules import Allowed, Rejected, check_auth
from thingroom_homeserver.core.event import MalformedEvent, parse_untrusted_pdu
from thingroom_homeserver.core.hashing import content_hash, event_id_of, reference_hash
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.core.room_rules import ROOM_RULES

VERSIONS = list(ROOM_RULES)
ROOMS, EVENTS_PER_ROOM = 16, 60

# Rules that random rooms must have met in every version that has them, so that agreement on them means something.
MET_EVERYWHERE = {"3.1", "3.2", "5.1", "5.3.7", "5.4.1.5", "5.4.2", "5.4.3", "5.8", "6", "8", "9"}
MET_SOMEWHERE = MET_EVERYWHERE | {
    *("10.1", "10.2", "10.3", "10.4", "10.6.1", "10.6.2", "10.7.1", "10.8.1", "10.9.1", "10.10.1", "3.3"),
    *("5.3.2", "5.3.3", "5.3.5.2", "5.4.1.1", "5.4.1.2", "5.4.1.3", "5.4.1.4", "5.4.1.6", "5.4.1.8", "5.4.5"),
    *("5.5.1", "5.5.2", "5.5.5", "5.6.1", "5.6.3", "5.7.1", "5.7.4", "7.1", "v1:2.4", "v1:4.1", "v1:4.2"),
}
rules_met: Counter[str] = Counter()
versions_done: set[str] = set()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running_oracle() as running:
        yield running


def ask(oracle: Oracle, room: Room) -> list[dict[str, str | None]]:
    """Synapse's verdicts on every event of the room, each against the state it met."""
    index = {event.event_id: number for number, event in enumerate(room.events)}
    checks = [
        {
            "event": index[checked.event.event_id],
            "state": [index[event_id] for event_id in checked.state],
            "rejected": [index[event_id] for event_id in checked.rejected],
        }
        for checked in room.checked
    ]
    return oracle.check(room.rules.version, [event.pdu for event in room.events], checks)


@pytest.mark.parametrize("version", VERSIONS)
def test_random_rooms_get_the_same_verdicts(oracle: Oracle, version: str):
    met: Counter[str] = Counter()
    allowed = total = 0
    for seed in range(ROOMS):
        room = random_room(version, seed, EVENTS_PER_ROOM)
        for checked, synapse in zip(room.checked, ask(oracle, room), strict=True):
            verdicts = (checked.list_verdict, checked.state_verdict)
            met.update(verdict.rule for verdict in verdicts if isinstance(verdict, Rejected))
            total, allowed = total + 1, allowed + checked.allowed
            assert checked.allowed == (synapse["list"] is None and synapse["state"] is None), (
                f"seed {seed}: ours {verdicts}, Synapse {synapse}\n{json.dumps(checked.event.pdu, indent=1)}"
            )
    assert allowed > total / 4, "too few events are allowed for the comparison to mean much"
    assert set(met) >= MET_EVERYWHERE
    rules_met.update(met)
    versions_done.add(version)


def test_random_rooms_met_the_rules():
    if versions_done == set(VERSIONS):  # not when a single version was picked on the command line
        assert set(rules_met) >= MET_SOMEWHERE


CREATE_CONTENTS = (
    {},
    *({"room_version": room_version} for room_version in ("1", "11", "99", 12, None, ["1"])),
    {"creator": 5},
    *(
        {"additional_creators": creators}
        for creators in (
            *([], list(USERS), [USERS[1], USERS[1]], ["@historical id:one.test"]),
            *(None, "x", USERS[1], {}, [5], ["bob"], ["@bob:not valid"], ["@" + "b" * 250 + ":one.test"], [None]),
        )
    ),
)


@pytest.mark.parametrize("version", VERSIONS)
def test_create_events_get_the_same_verdicts(oracle: Oracle, version: str):
    rules = ROOM_RULES[version]
    room_ids = [None] if rules.room_id_is_create_event_id else ["!room:one.test", "!room:two.test"]
    creators = [{"creator": USERS[0]}, {}]
    events = [
        build(rules, room_id, "m.room.create", USERS[0], creator | content, state_key="", prev_event_ids=previous)
        for room_id in room_ids
        for creator in creators
        for content in CREATE_CONTENTS
        for previous in ([], ["$before:one.test"])
    ]
    checks = [{"event": number, "state": []} for number in range(len(events))]
    verdicts = oracle.check(version, [event.pdu for event in events], checks)
    allowed = 0
    for event, synapse in zip(events, verdicts, strict=True):
        ours = check_auth(event, {}, rules, create=event)
        assert isinstance(ours, Allowed) == (synapse["list"] is None), f"ours {ours}, Synapse {synapse}: {event.pdu}"
        allowed += isinstance(ours, Allowed)
    assert 0 < allowed < len(events)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1)
OLD_NUMBERS = st.integers(-(10**25), 10**25) | st.floats(allow_nan=False, allow_infinity=False)


def json_values(numbers: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.recursive(
        st.none() | st.booleans() | numbers | TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
        max_leaves=6,
    )


EVENT_TYPES = (
    *("m.room.create", "m.room.member", "m.room.join_rules", "m.room.power_levels", "m.room.history_visibility"),
    *("m.room.aliases", "m.room.redaction", "m.room.third_party_invite", "m.room.message", "org.example.é"),
)
CONTENT_KEYS = (
    *("membership", "join_authorised_via_users_server", "third_party_invite", "creator", "room_version", "join_rule"),
    *("allow", "ban", "events", "events_default", "kick", "invite", "redact", "state_default", "users"),
    *("users_default", "notifications", "history_visibility", "aliases", "redacts", "body", "additional_creators"),
)
TOP_LEVEL_KEYS = ("origin", "membership", "prev_state", "redacts", "replaces_state", "é", "content2")


def contents(numbers: st.SearchStrategy[object]) -> st.SearchStrategy[dict]:
    values = json_values(numbers)
    signed = st.dictionaries(st.sampled_from(("signed", "display_name")), values)
    return st.builds(
        lambda content, third_party_invite: content | third_party_invite,
        st.dictionaries(st.sampled_from(CONTENT_KEYS) | TEXT, values, max_size=8),
        st.just({}) | st.fixed_dictionaries({"third_party_invite": signed | values}),
    )


@pytest.mark.parametrize("version", VERSIONS)
def test_any_event_gets_the_same_hashes_id_and_redaction(oracle: Oracle, version: str):
    rules = ROOM_RULES[version]
    numbers = NUMBERS if rules.strict_canonical_json else NUMBERS | OLD_NUMBERS

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        event_type=st.sampled_from(EVENT_TYPES),
        content=contents(numbers),
        more=st.dictionaries(st.sampled_from(TOP_LEVEL_KEYS), json_values(numbers), max_size=4),
        state_key=st.none() | TEXT,
        unsigned=st.none() | st.just({"age": 5, "redacted_because": {}}),
    )
    def compare(event_type: str, content: dict, more: dict, state_key: str | None, unsigned: dict | None) -> None:
        room_id = "!room:one.test"
        if rules.room_id_is_create_event_id:
            room_id = "!" + "a" * 43
            if event_type == "m.room.create":
                room_id, state_key = None, ""
        event = build(rules, room_id, event_type, USERS[0], {}, state_key=state_key)
        pdu = event.pdu | more | {"content": content}
        if unsigned is not None:
            pdu["unsigned"] = unsigned
        if event_type == "m.room.redaction" and not rules.redacts_in_content:
            pdu["redacts"] = "$target:one.test"
        [theirs] = oracle.describe(version, [pdu])
        assert "error" not in theirs, theirs["error"]
        assert content_hash(pdu, rules) == theirs["content_hash"]
        assert reference_hash(pdu, rules).replace("-", "+").replace("_", "/") == theirs["reference_hash"]
        assert event_id_of(pdu, rules) == theirs["event_id"]
        assert redact(pdu, rules) == theirs["redacted"]
        ours = parse_untrusted_pdu(pdu, version)
        assert not isinstance(ours, MalformedEvent), ours.reason
        assert ours.event_id == theirs["event_id"]

    compare()
