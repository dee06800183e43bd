"""Where Synapse and this server answer differently, each with the reason, and proof that both still do.

Everything else agrees: test_synapse_agreement.py.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tests.synapse_peer.oracle_client import Oracle, running_oracle
from tests.synapse_peer.room_generator import ALICE, BOB, CAROL, IDENTITY_KEY, Checked, Room, build, new_room

from thingroom_homeserver.core.canonical_json import encode_canonical_json
from thingroom_homeserver.core.event import MAX_PDU_BYTES, MalformedEvent, parse_untrusted_pdu
from thingroom_homeserver.core.hashing import content_hash, event_id_of
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import encode_base64, sign_json


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with running_oracle() as running:
        yield running


@dataclass(frozen=True)
class Difference:
    """A verdict that differs. `make` brings the room up to the event in question, which it returns."""

    name: str
    versions: tuple[str, ...]
    we_allow: bool
    reason: str
    make: Callable[[Room], Checked]
    create_content: tuple[tuple[str, Any], ...] = ()


def _levels(room: Room, state_key: str = "", **content: Any) -> Checked:
    return room.send("m.room.power_levels", ALICE, content, state_key=state_key)


def _public(room: Room) -> None:
    room.send("m.room.join_rules", ALICE, {"join_rule": "public"}, state_key="")


def _join(room: Room, user: str) -> Checked:
    return room.send("m.room.member", user, {"membership": "join"}, state_key=user)


def _invite(room: Room, user: str, **content: Any) -> Checked:
    return room.send("m.room.member", ALICE, {"membership": "invite"} | content, state_key=user)


def _join_public(room: Room) -> Checked:
    _public(room)
    return _join(room, CAROL)


def _redact_nothing(room: Room) -> Checked:
    _public(room)
    _join(room, BOB)
    return room.send("m.room.redaction", BOB, {})


def _second_levels(room: Room) -> Checked:
    _levels(room, users={ALICE: 100})
    return _levels(room, state_key="other", users={ALICE: 100, BOB: 101})


def _emptied_events(room: Room) -> Checked:
    _levels(room, users={ALICE: 100})
    return _levels(room, users={ALICE: 100}, events=[])


def _message_under_unreadable_levels(room: Room) -> Checked:
    _levels(room, users={ALICE: 100}, events_default="much")
    return room.send("m.room.message", ALICE, {})


def _second_key_is_good(room: Room) -> Checked:
    good = encode_base64(IDENTITY_KEY.public_key)
    keys = {"public_key": "no key", "public_keys": [{"public_key": good}]}
    room.send("m.room.third_party_invite", ALICE, keys, state_key="token")
    signed = sign_json({"mxid": CAROL, "token": "token"}, "id.test", IDENTITY_KEY)
    return _invite(room, CAROL, third_party_invite={"signed": signed})


STRINGS_ALLOWED = ("1", "5", "9")
DIFFERENCES = (
    Difference(
        "invite into an unfederated room",
        ("1", "6", "11", "12"),
        True,
        "Rule 4 looks at the sender's domain only; Synapse at the target's too. The invited cannot join either way.",
        lambda room: _invite(room, CAROL),
        (("m.federate", False),),
    ),
    Difference(
        "m.federate is not a boolean",
        ("1", "11", "12"),
        True,
        "Rule 4 asks whether it is set to false; Synapse whether it is anything but true.",
        _join_public,
        (("m.federate", "no"),),
    ),
    Difference(
        "redaction of nothing",
        ("1", "2"),
        False,
        "Rule 11.3 rejects what 11.1 and 11.2 do not allow; Synapse allows a redaction without a target.",
        _redact_nothing,
    ),
    Difference(
        "power levels under another state key",
        ("6", "11"),
        False,
        "Rule 9 compares with the levels in force; Synapse with the event under the same state key, and has none.",
        _second_levels,
    ),
    Difference(
        "level with underscores",
        STRINGS_ALLOWED,
        False,
        "The specification's strings are digits, a sign and spaces; Synapse takes what Python's int() takes.",
        lambda room: _levels(room, users={ALICE: 100, BOB: "1_0"}),
    ),
    Difference(
        "level that is a boolean",
        STRINGS_ALLOWED,
        False,
        "A boolean is no integer; for Python's int() it is.",
        lambda room: _levels(room, users={ALICE: 100, BOB: True}),
    ),
    Difference(
        "levels for a user of no valid server",
        ("1", "10", "12"),
        False,
        "Rule 10.3 wants valid user IDs; Synapse does not look at the server name.",
        lambda room: _levels(room, users={"@bob:not valid": 5}),
    ),
    Difference(
        "member of no valid server",
        ("1", "10", "12"),
        False,
        "A state_key that is no user ID cannot be a user; Synapse does not look at the server name.",
        lambda room: _invite(room, "@bob:not valid"),
    ),
    Difference(
        "events is an empty list",
        STRINGS_ALLOWED,
        False,
        "Not an object, though the rules before version 10 do not say so. Synapse takes it, then fails on every event.",
        _emptied_events,
    ),
    Difference(
        "unreadable level in force",
        STRINGS_ALLOWED,
        True,
        "Before version 10 the first levels may be unreadable. We take the default; Synapse fails on every event.",
        _message_under_unreadable_levels,
    ),
    Difference(
        "second key of a third-party invite is the good one",
        ("1", "11", "12"),
        True,
        "Rule 5.4.1.7 asks for any key that matches; Synapse stops at one it cannot decode.",
        _second_key_is_good,
    ),
)
CASES = [(difference, version) for difference in DIFFERENCES for version in difference.versions]


@pytest.mark.parametrize(("difference", "version"), CASES, ids=[f"{one.name}-{version}" for one, version in CASES])
def test_verdicts_that_differ(oracle: Oracle, difference: Difference, version: str):
    room = new_room(version, 0, **dict(difference.create_content))
    _join(room, ALICE)
    checked = difference.make(room)
    assert all(before.allowed for before in room.checked[:-1]), "the way there must be allowed"
    index = {event.event_id: number for number, event in enumerate(room.events)}
    check = {"event": index[checked.event.event_id], "state": [index[event_id] for event_id in checked.state]}
    [synapse] = oracle.check(version, [event.pdu for event in room.events], [check])
    assert checked.allowed is difference.we_allow
    assert (synapse["list"] is None and synapse["state"] is None) is not difference.we_allow


def _message(version: str) -> dict[str, Any]:
    room_id = "!" + "a" * 43 if ROOM_RULES[version].room_id_is_create_event_id else "!room:one.test"
    return build(ROOM_RULES[version], room_id, "m.room.message", ALICE, {"body": "x"}).pdu


# Keys that Synapse takes away before it hashes, as it once put them there itself; the specification does not.
@pytest.mark.parametrize("key", ["age_ts", "outlier", "destinations"])
@pytest.mark.parametrize("version", ["1", "6", "12"])
def test_content_hashes_that_differ(oracle: Oracle, version: str, key: str):
    pdu = _message(version) | {key: 5}
    [synapse] = oracle.describe(version, [pdu])
    assert content_hash(pdu, ROOM_RULES[version]) != synapse["content_hash"]
    assert event_id_of(pdu, ROOM_RULES[version]) == synapse["event_id"]


@pytest.mark.parametrize("version", ["1", "6", "12"])
def test_both_draw_the_line_at_the_same_size(oracle: Oracle, version: str):
    fits = _message(version) | {"unsigned": {}}  # Synapse counts one even where there is none
    fits["content"] = {"body": "é" + "x" * (MAX_PDU_BYTES - len(encode_canonical_json(fits)) - 1)}
    too_large = fits | {"content": {"body": fits["content"]["body"] + "x"}}
    answers = oracle.describe(version, [fits, too_large])
    assert [answer["refused"] is None for answer in answers] == [True, False]
    parsed = [parse_untrusted_pdu(pdu, version) for pdu in (fits, too_large)]
    assert [isinstance(event, MalformedEvent) for event in parsed] == [False, True]


FORMAT_FAULTS: tuple[dict[str, Any], ...] = (
    *({"depth": depth} for depth in (-1, 1.0, "1", None, 2**63, True)),
    *({"origin_server_ts": time} for time in ("1", 1.5, None)),
    *({"sender": sender} for sender in ("", "@a", "alice", 5, None, "@" + "a" * 250 + ":one.test", "@é" * 100)),
    *({"type": event_type} for event_type in (5, None, "x" * 256, "é" * 128)),
    *({"state_key": state_key} for state_key in (5, None, "x" * 256, "é" * 128)),
    *({"content": content} for content in (5, None, [], {"body": "x" * 65536})),
    *({"unsigned": unsigned} for unsigned in (5, None, [])),
    *({"hashes": hashes} for hashes in (5, None, {"sha256": 5})),
    *({"signatures": signatures} for signatures in (5, {"one.test": 5}, {"one.test": {"ed25519:1": 5}})),
    *({"auth_events": references} for references in (5, None, "x", [5], [["$x:y"]], [None])),
    *({"prev_events": references} for references in (5, None, {}, [5], [["$x:y"]])),
    {"room_id": 5},
)
MISSING = ("depth", "signatures", "hashes", "content", "auth_events", "prev_events", "room_id", "sender", "type")


@pytest.mark.parametrize("version", list(ROOM_RULES))
def test_malformed_events_are_malformed_for_both(oracle: Oracle, version: str):
    good = _message(version)
    bad = [good | fault for fault in FORMAT_FAULTS]
    bad += [{key: value for key, value in good.items() if key != missing} for missing in MISSING]
    if ROOM_RULES[version].strict_canonical_json:
        bad += [good | {"content": {"a": value}} for value in (1.5, 2**53, -(2**53), 1e10)] + [good | {"depth": 2**53}]
    if ROOM_RULES[version].event_ids_are_hashes:
        bad.append(good | {"event_id": "$x:y"})
    for pdu, synapse in zip([good, *bad], oracle.describe(version, [good, *bad]), strict=True):
        ours = parse_untrusted_pdu(pdu, version)
        assert isinstance(ours, MalformedEvent) == (synapse["refused"] is not None), (pdu, ours, synapse)
        assert isinstance(ours, MalformedEvent) == (pdu is not good)


@dataclass(frozen=True)
class FormatDifference:
    """A change to a good event after which only one of us takes it."""

    name: str
    version: str
    change: dict[str, Any]
    we_accept: bool
    reason: str


FORMAT_DIFFERENCES = (
    FormatDifference(
        "depth", "5", {"depth": 2**53}, True, "Until version 5 depth goes to 2^63-1; Synapse has one limit."
    ),
    FormatDifference("no signature", "11", {"signatures": {}}, True, "Is asked for with the signature checks, step 2."),
    FormatDifference(
        "no hash", "11", {"hashes": {}}, False, "The format demands it; Synapse does with the hash, step 3."
    ),
    FormatDifference(
        "auth", "11", {"auth_events": ["$x"] * 11}, False, "At most 10; Synapse looks when it has fetched."
    ),
    FormatDifference(
        "prev", "11", {"prev_events": ["$x"] * 21}, False, "At most 20; Synapse looks when it has fetched."
    ),
    FormatDifference("reference", "11", {"auth_events": ["x"]}, False, "No event ID; Synapse will not find it."),
    FormatDifference("room", "11", {"room_id": "!x"}, False, "Until version 11 a room ID has a domain."),
    FormatDifference(
        "hashed room", "11", {"room_id": "!" + "a" * 43}, False, "Until version 11 a room ID has a domain."
    ),
    FormatDifference("short room", "12", {"room_id": "!x"}, False, "Not the hash of a create event."),
    FormatDifference("room with domain", "12", {"room_id": "!x:y"}, False, "Not the hash of a create event."),
)


@pytest.mark.parametrize("difference", FORMAT_DIFFERENCES, ids=[one.name for one in FORMAT_DIFFERENCES])
def test_formats_that_differ(oracle: Oracle, difference: FormatDifference):
    pdu = _message(difference.version) | difference.change
    [synapse] = oracle.describe(difference.version, [pdu])
    assert isinstance(parse_untrusted_pdu(pdu, difference.version), MalformedEvent) is not difference.we_accept
    assert (synapse["refused"] is None) is not difference.we_accept
    if "redacted" in synapse:
        assert redact(pdu, ROOM_RULES[difference.version]) == synapse["redacted"]
