"""Events built here, stored, read back and received: one shape, whatever the room version."""

import copy
import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_homeserver.core.build_event import build_event
from thingroom_homeserver.core.canonical_json import CanonicalJsonError, encode_canonical_json
from thingroom_homeserver.core.event import (
    MAX_PDU_BYTES,
    Event,
    MalformedEvent,
    load_stored_pdu,
    parse_untrusted_pdu,
    redacted_event,
    size_fault,
)
from thingroom_homeserver.core.hashing import content_hash_matches, event_id_of, reference_hash
from thingroom_homeserver.core.room_rules import DEFAULT_ROOM_VERSION, KNOWN_ROOM_VERSIONS, ROOM_RULES
from thingroom_homeserver.core.signing import SigningKey, required_signing_servers, sign_event, verify_event

KEY = SigningKey.from_seed("ed25519:1", bytes(32))
SERVER = "one.test"
HASH = "a" * 43
VERSIONS = list(ROOM_RULES)


def make(version: str, **changes: Any) -> Event:
    rules = ROOM_RULES[version]
    given = {
        "rules": rules,
        "room_id": "!" + HASH if rules.room_id_is_create_event_id else "!room:one.test",
        "type": "m.room.message",
        "sender": "@alice:one.test",
        "content": {"body": "21.4 °C"},
        "auth_event_ids": ["$auth:one.test"],
        "prev_event_ids": ["$prev:one.test", "$other:two.test"],
        "depth": 7,
        "origin_server_ts": 1_700_000_000_000,
        "server_name": SERVER,
        "signing_key": KEY,
        "event_id": None if rules.event_ids_are_hashes else "$own:one.test",
    }
    return build_event(**(given | changes))


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("event_type", ["m.room.message", "m.room.redaction", "org.example.state"])
def test_built_stored_and_received_events_are_the_same(version: str, event_type: str):
    more = {"m.room.redaction": {"redacts": "$target"}, "org.example.state": {"state_key": "k"}}.get(event_type, {})
    event = make(version, type=event_type, **more)
    rules = ROOM_RULES[version]
    assert event.is_state == (event_type == "org.example.state")
    assert event.redacts == more.get("redacts")
    assert event.event_id == event_id_of(event.pdu, rules)
    assert content_hash_matches(event.pdu, rules)
    assert verify_event(event.pdu, SERVER, "ed25519:1", KEY.public_key, rules)
    stored = orjson.dumps(event.pdu)
    assert load_stored_pdu(stored, event.event_id, version) == event
    assert parse_untrusted_pdu(orjson.loads(stored), version) == event
    assert event.size == len(encode_canonical_json(event.pdu))
    assert event.rules is rules and hash(event) == hash(event.event_id)


def test_a_version_12_create_event_names_its_room():
    create = make("12", type="m.room.create", state_key="", room_id=None, auth_event_ids=[], prev_event_ids=[])
    assert "room_id" not in create.pdu
    assert create.room_id == "!" + create.event_id[1:] and len(create.room_id) == 44
    assert parse_untrusted_pdu(create.pdu, "12") == create
    for changed in (create.pdu | {"room_id": create.room_id}, create.pdu | {"state_key": "x"}):
        assert isinstance(parse_untrusted_pdu(changed, "12"), MalformedEvent)


def test_the_first_versions_refer_to_events_by_id_and_hash():
    first = make("1")
    hashes = {first.event_id: reference_hash(first.pdu, ROOM_RULES["1"])}
    event = make("1", prev_event_ids=[first.event_id], reference_hashes=hashes, event_id="$second:one.test")
    assert event.pdu["prev_events"] == [[first.event_id, {"sha256": hashes[first.event_id]}]]
    assert event.pdu["auth_events"] == [["$auth:one.test", {}]]
    assert event.prev_event_ids == (first.event_id,) and event.auth_event_ids == ("$auth:one.test",)
    assert parse_untrusted_pdu(event.pdu, "1") == event


def test_redaction_targets_stand_where_the_version_wants_them():
    old, new = (make(version, type="m.room.redaction", redacts="$t") for version in ("10", "11"))
    assert old.pdu["redacts"] == "$t" and "redacts" not in old.content
    assert "redacts" not in new.pdu and new.content["redacts"] == "$t"
    assert old.redacts == new.redacts == "$t"
    assert make("11", redacts=None, content={"redacts": "$t"}).redacts is None  # only redactions redact
    assert make("11", type="m.room.redaction", content={"redacts": 5}).redacts is None


def test_building_changes_nothing_of_the_callers():
    content = {"body": "x"}
    make("12", type="m.room.redaction", redacts="$t", content=content)
    assert content == {"body": "x"}


@pytest.mark.parametrize("version", ["1", "12"])
@pytest.mark.parametrize("value", [1.5, 2**53, "\ud800"])
def test_what_is_not_canonical_cannot_be_built_in_any_version(version: str, value: object):
    with pytest.raises(CanonicalJsonError):
        make(version, content={"a": [value]})


def test_the_first_versions_need_an_event_id():
    with pytest.raises(ValueError, match="needs an event_id"):
        make("2", event_id=None)


def test_sizes():
    assert size_fault(make("12")) is None
    assert "type is longer" in str(size_fault(make("12", type="é" * 128)))
    assert "state_key is longer" in str(size_fault(make("12", state_key="x" * 256)))
    room = MAX_PDU_BYTES - make("12", content={"body": ""}).size - len(',"unsigned":{}')
    assert size_fault(make("12", content={"body": "x" * room})) is None
    assert "more than" in str(size_fault(make("12", content={"body": "x" * (room + 1)})))


def test_a_redacted_event_keeps_its_id_and_signature():
    event = member("12", membership="join", displayname="B")
    redacted = redacted_event(event)
    assert redacted.content == {"membership": "join"}
    assert redacted.event_id == event.event_id == event_id_of(redacted.pdu, event.rules)
    assert verify_event(redacted.pdu, SERVER, "ed25519:1", KEY.public_key, event.rules)
    assert event.content["displayname"] == "B"


def member(version: str, **content: Any) -> Event:
    return make(version, type="m.room.member", state_key="@bob:two.test", content=content)


def test_whose_signatures_an_event_needs():
    one, three = "one.test", "three.test"
    voucher = {"join_authorised_via_users_server": "@carol:three.test"}
    for event, servers in (
        (make("12"), {one}),
        (make("1", event_id="$x:three.test"), {one, three}),
        (make("3"), {one}),
        (member("12", membership="invite"), {one}),
        (member("12", membership="invite", third_party_invite={}), set()),
        (member("12", membership="join", **voucher), {one, three}),
        (member("7", membership="join", **voucher), {one}),
        (member("12", membership="leave", **voucher), {one}),
        (member("12", membership="join", join_authorised_via_users_server=5), {one}),
    ):
        assert required_signing_servers(event, event.rules) == servers


def test_countersigning_keeps_hash_and_id():
    event = make("12")
    other = SigningKey.from_seed("ed25519:2", bytes([2]) * 32)
    signed = parse_untrusted_pdu(sign_event(event.pdu, "two.test", other, event.rules), "12")
    assert isinstance(signed, Event)
    assert signed.event_id == event.event_id and set(signed.pdu["signatures"]) == {"one.test", "two.test"}
    assert verify_event(signed.pdu, "two.test", "ed25519:2", other.public_key, event.rules)


def test_the_default_version_is_known():
    assert DEFAULT_ROOM_VERSION in KNOWN_ROOM_VERSIONS == {str(number) for number in range(1, 13)}
    assert isinstance(parse_untrusted_pdu(make("12").pdu, "13"), MalformedEvent)


@pytest.mark.parametrize("pdu", [None, [], "x", 5, {}, {"type": "m.room.message"}])
def test_what_is_no_event(pdu: object):
    malformed = parse_untrusted_pdu(pdu, "12")
    assert isinstance(malformed, MalformedEvent) and malformed.reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(VERSIONS), st.sampled_from(["m.room.create", "m.room.redaction", "m.room.message"]), st.data())
def test_any_change_of_a_pdu_gives_an_event_or_a_reason(version: str, event_type: str, data: st.DataObject):
    pdu = copy.deepcopy(make(version, type=event_type).pdu)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from([*pdu, "state_key", "redacts", "unsigned", "event_id", "room_id"]))
        pdu[key] = data.draw(JSON | st.lists(st.lists(JSON, max_size=2), max_size=2))
    before = repr(pdu)
    parsed = parse_untrusted_pdu(pdu, version)
    assert repr(pdu) == before
    if isinstance(parsed, MalformedEvent):
        assert parsed.reason
    else:
        again = load_stored_pdu(json.dumps(pdu).encode(), parsed.event_id, version)
        assert again == parsed
        redacted_event(parsed)
