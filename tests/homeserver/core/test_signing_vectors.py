"""Signatures and hashes: the specification's vectors, and everything that must not verify."""

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey as NaclSigningKey

from thingroom_homeserver.core.canonical_json import CanonicalJsonError
from thingroom_homeserver.core.hashing import content_hash, content_hash_matches, event_id_of, reference_hash
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.core.signing import (
    SigningKey,
    decode_base64,
    encode_base64,
    sign_event,
    sign_json,
    signature_on,
    verify_event,
    verify_json,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "matrix_signing.json").read_text("utf-8"))
SERVER, KEY_ID = VECTORS["server_name"], VECTORS["key_id"]
KEY = SigningKey.from_seed(KEY_ID, decode_base64(VECTORS["seed"]) or b"")
PUBLIC = KEY.public_key


@pytest.mark.parametrize("row", VECTORS["json"], ids=["empty", "values"])
def test_specification_json_signing(row: dict):
    before = json.dumps(row["unsigned"])
    assert sign_json(row["unsigned"], SERVER, KEY) == row["signed"]
    assert json.dumps(row["unsigned"]) == before
    assert verify_json(row["signed"], SERVER, KEY_ID, PUBLIC)


@pytest.mark.parametrize("row", VECTORS["events"], ids=["minimal", "redactable"])
def test_specification_event_signing(row: dict):
    before = json.dumps(row["unsigned"])
    assert sign_event(row["unsigned"], SERVER, KEY, ROOM_RULES["1"]) == row["signed"]
    assert json.dumps(row["unsigned"]) == before
    assert verify_event(row["signed"], SERVER, KEY_ID, PUBLIC, ROOM_RULES["1"])
    assert content_hash_matches(row["signed"], ROOM_RULES["1"])


def test_hashes_agree_with_a_calculation_by_hand():
    pdu = VECTORS["events"][0]["signed"]
    covered = b'{"auth_events":[],"content":{},"depth":3,"origin":"domain","origin_server_ts":1000000,"prev_events":[],'
    covered += b'"room_id":"!x:domain","sender":"@a:domain","type":"X"}'
    redacted = covered.replace(
        b'"origin"', b'"hashes":{"sha256":"5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos"},"origin"'
    )
    assert content_hash(pdu, ROOM_RULES["3"]) == sha256_base64(covered) == pdu["hashes"]["sha256"]
    assert reference_hash(pdu, ROOM_RULES["3"]) == sha256_base64(redacted)
    assert reference_hash(pdu, ROOM_RULES["4"]) == sha256_base64(redacted).replace("+", "-").replace("/", "_")
    assert event_id_of(pdu, ROOM_RULES["10"]) == "$" + reference_hash(pdu, ROOM_RULES["10"])
    without_origin = redacted.replace(b'"origin":"domain",', b"")
    assert event_id_of(pdu, ROOM_RULES["11"])[1:] == sha256_base64(without_origin).translate(str.maketrans("+/", "-_"))


def sha256_base64(data: bytes) -> str:

    return b64encode(hashlib.sha256(data).digest()).decode().rstrip("=")


def test_signatures_are_added_to_those_that_are_there():
    signed = sign_json({"a": 1, "unsigned": {"age": 4}, "signatures": {"other": {"ed25519:x": "abc"}}}, SERVER, KEY)
    other_key = SigningKey.from_seed("ed25519:2", bytes(32))
    twice = sign_json(signed, SERVER, other_key)
    assert set(twice["signatures"]) == {"other", SERVER}
    assert set(twice["signatures"][SERVER]) == {KEY_ID, "ed25519:2"}
    assert twice["unsigned"] == {"age": 4}
    assert verify_json(twice, SERVER, KEY_ID, PUBLIC)
    assert verify_json(twice, SERVER, "ed25519:2", other_key.public_key)
    assert verify_json(twice | {"unsigned": {}}, SERVER, KEY_ID, PUBLIC)


SIGNED = sign_json({"a": 1}, SERVER, KEY)


@pytest.mark.parametrize(
    ("json_object", "server", "key_id", "public_key"),
    [
        (SIGNED | {"a": 2}, SERVER, KEY_ID, PUBLIC),
        (SIGNED | {"b": 1}, SERVER, KEY_ID, PUBLIC),
        (SIGNED, "elsewhere", KEY_ID, PUBLIC),
        (SIGNED, SERVER, "ed25519:2", PUBLIC),
        (SIGNED, SERVER, KEY_ID, bytes(32)),
        (SIGNED, SERVER, KEY_ID, b""),
        ({"a": 1}, SERVER, KEY_ID, PUBLIC),
        ({"a": 1, "signatures": []}, SERVER, KEY_ID, PUBLIC),
        ({"a": 1, "signatures": {SERVER: "x"}}, SERVER, KEY_ID, PUBLIC),
        ({"a": 1, "signatures": {SERVER: {KEY_ID: 5}}}, SERVER, KEY_ID, PUBLIC),
        ({"a": 1, "signatures": {SERVER: {KEY_ID: "!!"}}}, SERVER, KEY_ID, PUBLIC),
        ({"a": 1, "signatures": {SERVER: {KEY_ID: ""}}}, SERVER, KEY_ID, PUBLIC),
        (SIGNED | {"a": "\ud800"}, SERVER, KEY_ID, PUBLIC),
        (SIGNED | {"signatures": {SERVER: {"rsa:1": SIGNED["signatures"][SERVER][KEY_ID]}}}, SERVER, "rsa:1", PUBLIC),
    ],
)
def test_does_not_verify(json_object: dict, server: str, key_id: str, public_key: bytes):
    assert not verify_json(json_object, server, key_id, public_key)


def test_an_event_verifies_full_and_redacted_but_not_with_another_type():
    rules = ROOM_RULES["11"]
    event = VECTORS["events"][1]["unsigned"]
    signed = sign_event(event, SERVER, KEY, rules)
    assert verify_event(signed, SERVER, KEY_ID, PUBLIC, rules)
    assert verify_event(signed | {"content": {}}, SERVER, KEY_ID, PUBLIC, rules)
    assert not content_hash_matches(signed | {"content": {}}, rules)
    assert not verify_event(signed | {"type": "m.other"}, SERVER, KEY_ID, PUBLIC, rules)
    assert not content_hash_matches(signed | {"hashes": {}}, rules)
    assert not content_hash_matches(signed | {"hashes": None}, rules)


@pytest.mark.parametrize("key_id", ["ed25519", "ed25519:", "rsa:1", "ed25519:a-b", "ed25519:ä", "1"])
def test_a_key_needs_an_identifier_of_the_grammar(key_id: str):
    with pytest.raises(ValueError, match="not an ed25519 key identifier"):
        SigningKey.from_seed(key_id, bytes(32))


def test_a_key_comes_back_from_its_seed_and_hides_it():
    seed = bytes(range(32))
    key = SigningKey.from_seed("ed25519:a", seed)
    assert key.seed == seed
    assert key.public_key == bytes(NaclSigningKey(seed).verify_key)
    assert str(seed) not in repr(key) and seed.hex() not in repr(key)


@given(st.binary(max_size=70))
def test_base64_reads_both_alphabets_padded_or_not(data: bytes):
    assert decode_base64(encode_base64(data)) == data
    assert decode_base64(urlsafe_b64encode(data).decode()) == data
    assert decode_base64(b64encode(data).decode()) == data
    assert "=" not in encode_base64(data)


@pytest.mark.parametrize("text", ["a", "ab c", "ä", "abc$", "\ud800", "ab\n"])
def test_base64_refuses(text: str):
    assert decode_base64(text) is None


@given(st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5) | st.floats(), max_size=4))
def test_what_is_signed_verifies(json_object: dict):

    try:
        signed = sign_json(json_object, SERVER, KEY)
    except CanonicalJsonError:
        return
    assert verify_json(signed, SERVER, KEY_ID, PUBLIC)
    assert signature_on(signed, SERVER, KEY_ID) is not None
