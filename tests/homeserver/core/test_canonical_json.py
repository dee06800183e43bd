"""Canonical JSON: the specification's examples, what must be refused, and agreement with its reference encoder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.core.canonical_json import (
    MAX_INTEGER,
    MAX_NESTING,
    CanonicalJsonError,
    JsonDecodeError,
    decode_json,
    encode_canonical_json,
)

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "matrix_canonical_json.json").read_text("utf-8"))["rows"]
GRAMMATICAL = [row for row in VECTORS if "refused" not in row]
REFUSED = [row for row in VECTORS if "refused" in row]

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def reference_encoder(value: object) -> bytes:
    """The specification's own, from the appendices."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode("UTF-8")


def nested(levels: int, kind: type) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value] if kind is list else {"a": value}
    return value


@pytest.mark.parametrize("row", GRAMMATICAL, ids=[row["canonical"][:30] for row in GRAMMATICAL])
def test_specification_examples(row: dict):
    assert encode_canonical_json(decode_json(row["json"].encode())) == row["canonical"].encode()


@pytest.mark.parametrize("row", REFUSED, ids=[row["canonical"][:30] for row in REFUSED])
def test_examples_that_the_grammar_does_not_allow(row: dict):
    value = decode_json(row["json"].encode())
    with pytest.raises(CanonicalJsonError) as error:
        encode_canonical_json(value)
    assert (error.value.path, error.value.reason) == ("b", "a float")


def test_a_negative_zero_is_zero():
    assert encode_canonical_json(decode_json(b'{"a":-0}')) == b'{"a":0}'


@given(JSON_VALUES)
def test_agrees_with_the_reference_encoder_and_reads_back(value: object):
    encoded = encode_canonical_json(value)
    assert encoded == reference_encoder(value)
    assert decode_json(encoded) == value
    assert encode_canonical_json(value, strict=False) == encoded


@pytest.mark.parametrize(
    ("value", "path"),
    [
        ({"a": {"b": [1, 2.0]}}, "a.b[1]"),
        ({"a": [float("nan")]}, "a[0]"),
        ({"n": 2**53}, "n"),
        ({"n": -(2**53)}, "n"),
        (-(2**70), ""),
        ({"a": {1: 2}}, "a"),
        ({"a": (1, 2)}, "a"),
        ({"a": b"bytes"}, "a"),
        (nested(MAX_NESTING + 1, list), "[0]" * MAX_NESTING),
        (nested(MAX_NESTING + 1, dict), ".".join(["a"] * MAX_NESTING)),
    ],
)
def test_refuses_with_the_path(value: object, path: str):
    with pytest.raises(CanonicalJsonError) as error:
        encode_canonical_json(value)
    assert error.value.path == path


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("value", ["\ud800", {"\udfff": 1}, {"a": ["x\ud83d"]}, {"a": {1}}])
def test_refuses_lone_surrogates_and_other_types_always(value: object, strict: bool):
    with pytest.raises(CanonicalJsonError):
        encode_canonical_json(value, strict=strict)


def test_the_limits_themselves_are_allowed():
    assert encode_canonical_json([MAX_INTEGER, -MAX_INTEGER]) == b"[9007199254740991,-9007199254740991]"
    assert len(encode_canonical_json(nested(MAX_NESTING, list))) == 2 * MAX_NESTING + 1


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"b": 1.5, "a": 2**53}, b'{"a":9007199254740992,"b":1.5}'),
        (10**30, b"1" + b"0" * 30),
        (1e16, b"1e+16"),
        ([1e10], b"[10000000000.0]"),
        (-0.0, b"-0.0"),
    ],
)
def test_old_room_versions_write_numbers_as_python_does(value: object, encoded: bytes):
    assert encode_canonical_json(value, strict=False) == encoded


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1: 2.0}, [2.0, {3}], nested(MAX_NESTING + 1, dict)])
def test_even_old_room_versions_refuse(value: object):
    with pytest.raises(CanonicalJsonError):
        encode_canonical_json([0.5, value], strict=False)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"nul",
        b"NaN",
        b"Infinity",
        b'"\xff"',
        b'"\\ud800"',
        b"[1,]",
        b"1e999",
        b"[" * 200 + b"]" * 200,
        b'{"a":' * 200 + b"1" + b"}" * 200,
        b"[" * 1_000_000,
        b"9" * 5000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_decoding_refuses(data: bytes):
    with pytest.raises(JsonDecodeError):
        decode_json(data)


def test_decoding_limits():
    assert decode_json(b"[[1]]", max_depth=2) == [[1]]
    with pytest.raises(JsonDecodeError):
        decode_json(b"[[1]]", max_depth=1)
    wide = b"[" + b"{}," * 500 + b"{}]"
    assert len(decode_json(wide, max_depth=2)) == 501
    with pytest.raises(JsonDecodeError):
        decode_json(b"[1, 2]", max_bytes=5)


def test_decoding_keeps_integers_whole_and_lets_the_last_duplicate_win():
    number = 123456789012345678901234567890
    assert decode_json(b'{"a":%d,"b":1}' % number) == {"a": number, "b": 1}
    assert decode_json(b'{"a":1,"a":2}') == {"a": 2}


@given(st.binary(max_size=60) | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_decoding_any_bytes_gives_a_value_or_the_error(data: bytes):
    try:
        value = decode_json(data)
    except JsonDecodeError:
        return
    assert decode_json(json.dumps(value).encode()) == value
