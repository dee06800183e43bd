"""CBOR by property: round trips, cbor2 in both directions, determinism, and nothing but WireError on any bytes."""

import math
import struct
from decimal import Context
from decimal import Decimal as StandardDecimal
from typing import Any

import cbor2
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.wire.wire_checks import identical

from thingroom_wire import cbor
from thingroom_wire.errors import WireError

INTEGERS = st.integers(-(2**64), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
KEYS = st.one_of(INTEGERS, TEXT, st.binary(max_size=12))
SHARED = st.one_of(INTEGERS, TEXT, st.binary(max_size=40), st.booleans(), st.none(), st.floats(allow_nan=False))
_WIDE = Context(prec=100)
OURS = st.one_of(
    SHARED,
    st.just(math.nan),
    st.builds(cbor.Decimal, INTEGERS, st.integers(-1000, 1000)),
    st.builds(cbor.Simple, st.sampled_from([0, 19, 23, 32, 255])),
)


def nested(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
        max_leaves=12,
    ).filter(lambda value: depth(value) <= 7)


def depth(value: Any) -> int:
    if isinstance(value, cbor.Tag):
        return 1 + depth(value.value)
    if isinstance(value, cbor.Decimal):
        return 2
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 0


@given(nested(OURS))
def test_what_is_encoded_is_decoded(value: Any) -> None:
    assert identical(cbor.decode(cbor.encode(value)), value)


@given(nested(SHARED), st.integers(5, 2**64 - 1))
def test_tags_round_trip(value: Any, number: int) -> None:
    tagged = cbor.Tag(number, value)
    assert identical(cbor.decode(cbor.encode(tagged), max_depth=9), tagged)


@given(nested(SHARED))
def test_cbor2_reads_what_we_write(value: Any) -> None:
    assert identical(thawed(cbor2.loads(cbor.encode(value))), value)


@given(nested(SHARED))
def test_we_read_what_cbor2_writes(value: Any) -> None:
    assert identical(cbor.decode(cbor2.dumps(value)), value)
    assert identical(cbor.decode(cbor2.dumps(value, canonical=True)), value)


def thawed(value: Any) -> Any:
    """cbor2's immutable containers as plain ones."""
    if isinstance(value, list | tuple):
        return [thawed(element) for element in value]
    if hasattr(value, "items"):
        return {key: thawed(element) for key, element in value.items()}
    return value


@given(INTEGERS, st.integers(-1000, 1000))
def test_decimals_agree_with_cbor2(mantissa: int, exponent: int) -> None:
    found = cbor2.loads(cbor.encode(cbor.Decimal(mantissa, exponent)))
    assert found.as_tuple() == StandardDecimal(mantissa).scaleb(exponent, context=_WIDE).as_tuple()
    assert cbor.decode(cbor2.dumps(found)) == cbor.Decimal(mantissa, exponent)


@given(st.floats())
@example(65504.0)
@example(65520.0)
@example(2.0**-24)
@example(2.0**-25)
@example(2.0**-14)
@example(2.0**-149)
@example(3.4028234663852886e38)
@example(3.5e38)
@example(-0.0)
def test_floats_take_the_shortest_exact_form(value: float) -> None:
    encoded = cbor.encode(value)
    assert encoded == cbor2.dumps(value, canonical=True)
    assert identical(cbor.decode(encoded), value)


@given(st.integers(0, 65535))
def test_every_half_is_what_struct_says(bits: int) -> None:
    half = bits.to_bytes(2, "big")
    found = cbor.decode(b"\xf9" + half)
    assert identical(found, struct.unpack(">e", half)[0])


@given(st.dictionaries(KEYS, st.none(), max_size=12))
def test_map_keys_are_in_bytewise_order(value: dict[Any, None]) -> None:
    keys = [cbor.encode(key) for key in value]
    assert cbor.encode(value) == cbor.encode_head(5, len(keys)) + b"".join(key + b"\xf6" for key in sorted(keys))


@given(st.binary(max_size=200))
@settings(max_examples=1000)
def test_random_bytes_give_a_value_or_a_reason(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except WireError as error:
        assert error.reason.islower()
        assert " " not in error.reason
        assert str(error).endswith(".")
    else:
        again = cbor.encode(value)
        assert len(again) <= len(data)
        assert identical(cbor.decode(again), value)


@given(nested(OURS), st.data())
@settings(max_examples=400)
def test_mutations_give_a_value_or_a_reason(value: Any, data: st.DataObject) -> None:
    encoded = bytearray(cbor.encode(value))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(encoded) - 1)) if encoded else 0
        encoded[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    try:
        cbor.decode(bytes(encoded))
    except WireError:
        return


@given(nested(SHARED))
def test_every_shorter_input_is_refused(value: Any) -> None:
    encoded = cbor.encode(value)
    for length in range(len(encoded)):
        with pytest.raises(WireError) as refused:
            cbor.decode(encoded[:length])
        assert refused.value.reason in ("truncated", "length_exceeds_input")


@given(st.binary(max_size=12))
def test_utf8_is_what_python_says(data: bytes) -> None:
    try:
        data.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert cbor.is_utf8(data) is expected


def test_a_huge_declared_length_costs_nothing() -> None:
    for head in (b"\x5b", b"\x7b", b"\x9b", b"\xbb"):
        with pytest.raises(WireError, match="longer than the input"):
            cbor.decode(head + (2**63).to_bytes(8, "big") + bytes(100))


def test_limits_are_parameters() -> None:
    assert cbor.decode(b"\x81" * 20 + b"\x00", max_depth=20)
    assert len(cbor.decode(cbor.encode(list(range(5000))), max_bytes=20_000, max_items=5001)) == 5000
    with pytest.raises(WireError, match="longer than the limit"):
        cbor.decode(bytes(10), max_bytes=9)


@pytest.mark.parametrize("value", [object(), {1.5: 2}, {True: 1}, {(1,): 2}, {1, 2}])
def test_a_type_without_encoding_is_the_callers_bug(value: object) -> None:
    with pytest.raises(TypeError):
        cbor.encode(value)


@pytest.mark.parametrize("value", [2**64, -(2**64) - 1, cbor.Tag(2**64, 1), cbor.Simple(24), cbor.Simple(256)])
def test_a_number_out_of_range_is_the_callers_bug(value: object) -> None:
    with pytest.raises(ValueError, match=r"64 bits|simple"):
        cbor.encode(value)


def test_other_byte_buffers_are_read() -> None:
    assert cbor.decode(bytearray(b"\x81\x41a")) == [b"a"]
    assert cbor.decode(memoryview(b"\x81\x41a")) == [b"a"]
