"""The verdicts: every kind of them, and that nothing a room may say makes the verifier fail or believe it."""

from __future__ import annotations

import itertools
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.flows.gateway_stack import Device
from tests.watch.signed_room import BOT, SignedRoom, damaged, fed, ghost, judged, state_of, unpadded, verdicts

from thingroom_watch import Gap, KeyNews, RoomTrust, Trust, Verdict, Verifier
from thingroom_watch.numbers import Numbers

VALID = (Verdict.VALID, "")


def news(findings):
    return [(one.kind, one.alarm) for one in findings if isinstance(one, KeyNews)]


def gaps(findings):
    return [(one.kind, one.first, one.last) for one in findings if isinstance(one, Gap)]


def test_a_signed_reading_is_valid_and_typed():
    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    event = room.readings(kitchen, kitchen.climate(214, 45, 1_760_000_000_500))
    [found] = judged(fed(room.events))
    assert (found.verdict, found.trust, found.name, found.sequence) == ("valid", "room", "Kitchen", 1)
    assert (found.event_id, found.index, found.clock) == (event["event_id"], 0, "synchronised")
    temperature, humidity = found.samples
    assert (temperature.quantity, temperature.unit, temperature.value) == ("temperature", "Cel", Decimal("21.4"))
    assert temperature.time_ms == 1_760_000_000_500
    assert humidity.value == Decimal(45)


def test_what_is_forged_says_why_and_has_no_values():
    room, kitchen, stranger = SignedRoom(), Device("Kitchen"), Device("Stranger")
    room.device(kitchen)
    good = kitchen.climate(214, 45)
    room.readings(kitchen, damaged(good, -1), b"", b"\x01" * 40)
    room.readings(stranger, stranger.climate(999, 1))
    room.event("org.thingroom.readings", {"envelopes": ["*", 7, unpadded(good)]}, "@mallory:away.test")
    room.event("org.thingroom.readings", {"envelopes": "all of them"}, "@mallory:away.test")
    found = fed(room.events)
    reasons = ["bad_signature", "truncated", "trailing_bytes", "unknown_key", "bad_base64", "bad_base64"]
    assert verdicts(found) == [
        *((Verdict.FORGED, reason) for reason in reasons),
        VALID,
        (Verdict.FORGED, "bad_envelopes"),
    ]
    assert all(not one.samples for one in judged(found) if one.verdict is Verdict.FORGED)


def test_a_copy_is_replayed_whoever_sends_it():
    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    first = kitchen.climate(214, 45)
    room.readings(kitchen, first, first)
    room.readings(kitchen, first, sender="@mallory:away.test")
    assert verdicts(fed(room.events)) == [VALID, (Verdict.REPLAYED, ""), (Verdict.REPLAYED, "")]


def test_keys_count_where_they_stand_in_the_room():
    room, old, new = SignedRoom(), Device("Kitchen"), Device("Kitchen")
    room.device(old)
    room.readings(old, old.climate(1, 1))
    late = old.climate(2, 2)
    room.device(old, "revoked", "Kitchen (old)", replaced_by=new.kid.hex())
    room.device(new, replaces=old.kid.hex())
    room.readings(old, late)
    room.readings(new, new.climate(3, 3))
    found = fed(room.events)
    assert verdicts(found) == [VALID, (Verdict.REVOKED, ""), VALID]
    assert [one.trust for one in judged(found)] == [Trust.ROOM, Trust.ROOM, Trust.CHANGED]
    assert news(found) == [("new", False), ("revoked", False), ("changed", True)]
    # Whoever pinned the new key was told of it by the owner.
    from thingroom_wire.keys import thumbprint

    pinned = Verifier(RoomTrust(pinned={thumbprint(new.public_key).hex()}))
    found = fed(room.events, pinned)
    assert judged(found)[-1].trust is Trust.PINNED
    assert news(found)[-1] == ("changed", False)


def test_a_key_that_the_server_swaps_raises_an_alarm():
    room, kitchen, spy = SignedRoom(), Device("Kitchen"), Device("Kitchen")
    room.device(kitchen)
    # Under the device's own id there can be no other key; renaming the old one first does not help either.
    room.event("org.thingroom.device", state_of(spy), BOT, kitchen.kid.hex())
    room.readings(kitchen, kitchen.climate(1, 1))
    room.device(kitchen, name="Shed")
    room.device(spy)
    room.readings(spy, spy.climate(2, 2))
    found = fed(room.events)
    assert news(found) == [("new", False), ("unusable", True), ("changed", True)]
    assert verdicts(found) == [(Verdict.FORGED, "key_is_not_the_devices"), VALID]
    assert judged(found)[-1].trust is Trust.CHANGED


def test_a_device_that_stops_signing_or_comes_back_raises_an_alarm():
    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    room.device(kitchen, "revoked")
    room.device(kitchen)
    unsigned = {"attested_by": "gateway", "name": "Kitchen", "profile": "climate", "status": "active"}
    room.event("org.thingroom.device", unsigned, BOT, kitchen.kid.hex())
    kinds = [("new", False), ("revoked", False), ("revived", True), ("unsigned", True)]
    assert news(fed(room.events)) == kinds


def test_gaps_are_named_and_explained():
    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    sent = [kitchen.climate(number, 1) for number in range(1, 7)]
    kitchen.sequence += 10  # numbers that were reserved before a reset
    sent.append(kitchen.climate(7, 1))
    room.readings(kitchen, sent[0], sent[1])
    room.readings(kitchen, sent[4])
    room.readings(kitchen, sent[6])
    verifier = Verifier(RoomTrust())
    found = fed(room.events, verifier)
    assert gaps(found) == [("missing", 3, 4), ("missing", 6, 6), ("skipped", 7, 16)]
    assert verifier.gaps(kitchen.kid.hex()) == [(3, 4), (6, 6)]
    # A backlog fills what was missing.
    backlog = room.readings(kitchen, sent[3], sent[2])
    assert verdicts(fed([backlog], verifier)) == [VALID, VALID]
    assert verifier.gaps(kitchen.kid.hex()) == [(6, 6)]


def test_a_reader_who_comes_later_misses_nothing_from_before():
    room, kitchen = SignedRoom(), Device("Kitchen")
    for _ in range(5):
        kitchen.climate(1, 1)
    room.device(kitchen)
    room.readings(kitchen, kitchen.climate(1, 1))
    assert gaps(fed(room.events)) == []


def test_what_a_gateway_attests_is_believed_of_its_account_only():
    room, plug = SignedRoom(), Device("Plug")
    kid = plug.kid.hex()
    said = {"attested_by": "gateway", "name": "Plug", "profile": "plug", "status": "active"}
    room.event("org.thingroom.device", said, BOT, kid)
    power = {"sequence": 4, "ts": 1_760_000_000_000, "name": "power", "unit": "W", "value": "12.50"}
    room.attested(kid, ghost(plug), power, {**power, "name": "on", "value": "true", "clock": "unset"})
    room.attested(kid, ghost(plug), power)
    room.attested(kid, "@mallory:away.test", {**power, "sequence": 5})
    room.attested(kid, ghost(plug).replace("home.test", "away.test"), {**power, "sequence": 5})
    found = fed(room.events)
    assert verdicts(found) == [
        (Verdict.ATTESTED, ""),
        (Verdict.REPLAYED, ""),
        (Verdict.FORGED, "not_its_account"),
        (Verdict.FORGED, "not_its_account"),
    ]
    first = judged(found)[0]
    assert [str(sample.value) for sample in first.samples] == ["12.50", "true"]
    assert (first.trust, first.clock) == (Trust.NONE, "unset")


def test_nobody_vouches_for_a_device_that_signs():
    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    room.attested(kitchen.kid.hex(), ghost(kitchen), {"sequence": 1, "ts": 1, "name": "t", "value": "1"})
    assert verdicts(fed(room.events)) == [(Verdict.FORGED, "device_signs")]


def test_a_signed_payload_that_is_no_pack_is_the_devices_and_unusable():
    from thingroom_wire.cose import encode_sign1, sig_structure
    from thingroom_wire.envelope import Clock, Header, protected_header

    room, kitchen = SignedRoom(), Device("Kitchen")
    room.device(kitchen)
    protected = protected_header(Header(kitchen.kid, 1, None, Clock(2, 1, 0)))
    signature = kitchen.signing_key.sign(sig_structure(protected, b"\x80")).signature
    room.readings(kitchen, encode_sign1(protected, b"\x80", signature))
    [found] = judged(fed(room.events))
    assert (found.verdict, found.reason, found.samples) == (Verdict.VALID, "not_a_pack", ())


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
KITCHEN = Device("Kitchen")
ENVELOPES = [KITCHEN.climate(number, 1) for number in range(1, 5)]
FIELDS = st.dictionaries(
    st.sampled_from(
        [
            "envelopes",
            "readings",
            "attested_by",
            "device",
            "key",
            "name",
            "status",
            "replaces",
            "sequence",
            "ts",
            "value",
        ]
    ),
    JSON | st.lists(st.sampled_from([unpadded(one) for one in ENVELOPES]) | JSON, max_size=5),
)
EVENTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["org.thingroom.readings", "org.thingroom.device"]) | JSON, "content": FIELDS | JSON},
    optional={
        "state_key": st.just(KITCHEN.kid.hex()) | JSON,
        "sender": JSON,
        "event_id": JSON,
        "origin_server_ts": JSON,
    },
)


@settings(deadline=None, max_examples=150)
@given(st.lists(EVENTS | JSON, max_size=8))
def test_odd_events_never_raise_and_are_never_believed_twice(events):
    state = {"type": "org.thingroom.device", "state_key": KITCHEN.kid.hex(), "content": state_of(KITCHEN)}
    found = fed([state, *events, state, *events])
    valid = [one.sequence for one in judged(found) if one.verdict is Verdict.VALID]
    assert len(valid) == len(set(valid))
    for one in found:
        repr(one).encode()


@settings(deadline=None, max_examples=150)
@given(st.integers(0, 3), st.integers(0, 5000))
def test_no_turned_bit_stays_valid(which, place):
    state = {"type": "org.thingroom.device", "state_key": KITCHEN.kid.hex(), "content": state_of(KITCHEN)}
    content = {"envelopes": [unpadded(damaged(ENVELOPES[which], place))]}
    found = judged(fed([state, {"type": "org.thingroom.readings", "content": content}]))
    # The empty unprotected header is the one part that nothing covers.
    assert [one.verdict for one in found] == [Verdict.FORGED]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(0, 6))), st.integers(1, 40), st.integers(0, 20))
def test_numbers_are_a_set(ranges, first, more):
    numbers, plain = Numbers(), set()
    for start, length in ranges:
        numbers.add(start, start + length - 1)
        plain |= set(range(start, start + length))
    assert {number for one in numbers for number in range(one[0], one[1] + 1)} == plain
    assert (numbers.count, numbers.highest) == (len(plain), max(plain, default=0))
    assert [number in numbers for number in range(60)] == [number in plain for number in range(60)]
    wanted = set(range(first, first + more + 1)) - plain
    missing = numbers.missing(first, first + more)
    assert {number for one in missing for number in range(one[0], one[1] + 1)} == wanted
    assert all(earlier[1] + 1 < later[0] for earlier, later in itertools.pairwise(missing))
    assert list(Numbers(numbers)) == list(numbers)
