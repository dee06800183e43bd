"""SenML, envelopes, answers and hellos by property: round trips, and nothing but WireError on any bytes."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.wire import wire_samples as samples
from tests.wire.wire_checks import identical, parse_with, reason_of

from thingroom_wire import cbor, command, cose, downlink, ed25519, envelope, hello, manifest, senml
from thingroom_wire.errors import WireError
from thingroom_wire.hkdf import hmac_sha256
from thingroom_wire.limits import MAX_BLOCK, MAX_BUNDLE, MAX_MANIFEST

SAMPLES = {
    "envelope": samples.sample_envelope(),
    "hello": samples.sample_hello(),
    "answer": samples.sample_answer(),
    "pairing": samples.sample_pairing_hello(),
    "command": samples.sample_command(),
    "configuration": samples.sample_configuration(),
    "manifest": samples.sample_manifest(),
    "ask": samples.sample_ask(),
    "block": samples.sample_block(),
}


@given(
    st.just("urn:dev:mac:0024befffe804ff1_"),
    st.none() | st.integers(2**28 * 1000 + 2**40, 2**52),
    st.lists(samples.RECORDS, min_size=1, max_size=8),
)
def test_a_pack_comes_back(base_name: str, base_time_ms: int | None, records: list[Any]) -> None:
    pack = senml.decode_pack(senml.encode_pack(base_name, base_time_ms, records))
    assert (pack.base_name, pack.base_time_ms) == (base_name, base_time_ms)
    assert identical(pack.records, records)


@pytest.mark.parametrize(
    ("base_name", "records"),
    [
        ("a", []),
        ("", [senml.Record("", None, 1, 0)]),
        ("_a", [senml.Record("", None, 1, 0)]),
        ("a", [senml.Record("b c", None, 1, 0)]),
    ],
)
def test_a_pack_that_rfc_8428_forbids_is_not_written(base_name: str, records: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"name|at least one"):
        senml.encode_pack(base_name, None, records)


def test_a_value_of_no_senml_type_is_not_written() -> None:
    with pytest.raises(TypeError):
        senml.encode_pack("a", None, [senml.Record("b", None, None, 0)])


LABELS = st.integers(-7, 9) | st.sampled_from(["x", "x_"])
FIELDS = st.one_of(samples.VALUES, st.none(), st.text("ab_:", max_size=4), st.integers(-5, 5), st.just(1.7e9))


@given(st.lists(st.dictionaries(LABELS, FIELDS, max_size=6), max_size=5) | st.binary(max_size=60))
@settings(max_examples=400)
def test_any_records_give_a_pack_or_a_reason(records: Any) -> None:
    data = records if isinstance(records, bytes) else cbor.encode(records)
    try:
        pack = senml.decode_pack(data)
    except WireError as error:
        assert error.reason.islower()
        return
    assert pack.records
    for record in pack.records:
        assert type(record.time) is int
        assert senml.is_name(record.name) or senml.is_name(pack.base_name + record.name)


@given(samples.headers(), st.binary(max_size=100), st.binary(min_size=64, max_size=64))
def test_an_envelope_comes_back(header: Any, payload: bytes, signature: bytes) -> None:
    protected = envelope.protected_header(header)
    parsed = envelope.parse_envelope(cose.encode_sign1(protected, payload, signature))
    assert parsed.header == header
    signed = cose.sig_structure(protected, payload)
    assert parsed == envelope.Envelope(header, protected, payload, signature, signed, [])


@pytest.mark.parametrize(
    "header",
    [
        envelope.Header(bytes(8), 0, None, envelope.Clock(0, 0, 0)),
        envelope.Header(bytes(8), 2**53, None, envelope.Clock(0, 0, 0)),
        envelope.Header(bytes(7), 1, None, envelope.Clock(0, 0, 0)),
        envelope.Header(bytes(8), 5, (5, bytes(8)), envelope.Clock(0, 0, 0)),
        envelope.Header(bytes(8), 5, (4, bytes(7)), envelope.Clock(0, 0, 0)),
    ],
)
def test_a_header_out_of_range_is_not_written(header: Any) -> None:
    with pytest.raises(ValueError, match="range"):
        envelope.protected_header(header)


@given(samples.headers(), st.binary(max_size=40), st.binary(max_size=40))
def test_the_digest_covers_header_and_payload(header: Any, payload: bytes, other: bytes) -> None:
    protected = envelope.protected_header(header)
    later = envelope.protected_header(header._replace(sequence=header.sequence % (2**53 - 1) + 1, predecessor=None))
    assert len(envelope.digest(protected, payload)) == 8
    assert (envelope.digest(protected, payload) == envelope.digest(protected, other)) == (payload == other)
    assert (envelope.digest(protected, payload) == envelope.digest(later, payload)) == (protected == later)


@given(samples.MANIFESTS)
@settings(max_examples=30)
def test_a_manifest_comes_back(plain: Any) -> None:
    data = manifest.encode_manifest(samples.SEED, samples.KEY_ID, plain)
    parsed = manifest.parse_manifest(data)
    assert parsed.manifest == plain and parsed.key_id == samples.KEY_ID and len(data) <= MAX_MANIFEST
    assert ed25519.verify(samples.PUBLIC, parsed.signed_bytes, parsed.signature)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"size": 0}, "bad_size"),
        ({"size": MAX_BUNDLE + 1}, "bad_size"),
        ({"counter": 0}, "bad_counter"),
        ({"counter": -1}, "bad_counter"),
        ({"number": 2**53}, "bad_number"),
        ({"kind": 2}, "bad_kind"),
        ({"patience": 0}, "bad_patience"),
        ({"digest": bytes(31)}, "bad_digest"),
        ({"device": bytes(7)}, "bad_key_id"),
        ({"version": ""}, "bad_version"),
        ({"version": "1" * 33}, "bad_version"),
        ({"architecture": 5}, "bad_architecture"),
        ({"version": "1" * 600}, "too_large"),
    ],
)
def test_a_manifest_out_of_range_is_refused(change: dict[str, Any], reason: str) -> None:
    plain = manifest.parse_manifest(samples.sample_manifest()).manifest._replace(**change)
    data = manifest.encode_manifest(samples.SEED, samples.KEY_ID, plain)
    assert reason_of(manifest.parse_manifest, data) == reason


@given(samples.COUNTERS, samples.COUNTERS, st.integers(1, MAX_BLOCK), st.binary(min_size=32, max_size=32))
def test_an_ask_and_a_block_come_back_under_their_key_only(counter: int, at: int, length: int, key: bytes) -> None:
    ask = manifest.Ask(counter, at, length)
    data = manifest.encode_ask(key, samples.KEY_ID, ask)
    assert manifest.parse_ask(data, key) == ask and manifest.ask_key_id(data) == samples.KEY_ID
    assert reason_of(manifest.parse_ask, data, b"another key") == "bad_tag"
    for piece in (bytes(length), None):
        block = manifest.Block(counter, at, piece)
        data = manifest.encode_block(key, samples.KEY_ID, block)
        assert manifest.parse_block(data, key) == block
        assert reason_of(manifest.parse_block, data, b"another key") == "bad_tag"
        # Neither passes for the other, nor for an answer.
        assert reason_of(manifest.parse_ask, data, key) == "bad_content_type"
        assert reason_of(downlink.parse_answer, data, key) == "bad_content_type"


@given(samples.ANSWERS, st.binary(max_size=40), samples.EIGHT_BYTES)
def test_an_answer_comes_back_under_its_key_only(answer: Any, key: bytes, kid: bytes) -> None:
    data = downlink.encode_answer(key, kid, answer)
    assert downlink.parse_answer(data, key) == answer
    assert reason_of(downlink.parse_answer, data, key + b"x") == "bad_tag"


@given(samples.hellos())
@settings(max_examples=30)
def test_a_hello_comes_back(plain: Any) -> None:
    data = hello.encode_hello(samples.SEED, plain)
    parsed = hello.parse_hello(data)
    assert parsed.hello == plain
    assert parsed.signed_bytes == cose.sig_structure(*hello.hello_parts(plain))
    assert not hello.is_pairing_hello(data)


@given(samples.COMMANDS)
@settings(max_examples=30)
def test_a_command_comes_back(plain: Any) -> None:
    data = command.encode_command(samples.SEED, samples.KEY_ID, plain)
    parsed = command.parse_command(data)
    assert parsed.command == plain and identical(parsed.command.value, plain.value)
    assert (parsed.key_id, parsed.signed_bytes) == (
        samples.KEY_ID,
        cose.sig_structure(*command.command_parts(samples.KEY_ID, plain)),
    )


@given(samples.headers(), st.lists(st.tuples(samples.COUNTERS, samples.TEXT), max_size=4))
def test_results_come_back(header: Any, results: list[Any]) -> None:
    protected = envelope.protected_header(header, results)
    parsed = envelope.parse_envelope(cose.encode_sign1(protected, b"", bytes(64)))
    assert (parsed.header, parsed.results) == (header, results)


@given(samples.hellos(pairing=True), st.binary(min_size=32, max_size=32))
@settings(max_examples=30)
def test_a_pairing_hello_comes_back_under_its_key_only(plain: Any, key: bytes) -> None:
    inner = hello.encode_hello(samples.SEED, plain)
    wrapped = hello.encode_pairing_hello(key, plain.key_id, inner)
    assert hello.is_pairing_hello(wrapped)
    assert hello.parse_pairing_hello(wrapped, key) == inner
    other = bytes((key[0] ^ 1,)) + key[1:]
    assert reason_of(hello.parse_pairing_hello, wrapped, other) == "bad_tag"


@given(st.binary(max_size=12), st.sampled_from([b"", b"\xd1", b"\xd8\x11", b"\xd9\x00\x11", b"\xd2", b"\xd8\x12"]))
def test_a_pairing_hello_is_known_by_its_tag(data: bytes, head: bytes) -> None:
    expected = head not in (b"", b"\xd2", b"\xd8\x12")
    if expected or head:
        assert hello.is_pairing_hello(head + data) is expected


def mutate(data: st.DataObject, sample: bytes) -> bytes:
    changed = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(changed)))
        changed[position : position + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    return bytes(changed)


@pytest.mark.parametrize("parser", SAMPLES)
@given(data=st.data())
@settings(max_examples=200)
def test_changed_messages_give_a_value_or_a_reason(parser: str, data: st.DataObject) -> None:
    changed = mutate(data, SAMPLES[parser])
    try:
        parsed = parse_with(parser, changed, samples.KEY)
    except WireError as error:
        assert error.reason.islower()
        return
    if parser == "envelope":
        reason_of(senml.decode_pack, parsed.payload)


@pytest.mark.parametrize("parser", SAMPLES)
@given(data=st.binary(max_size=120))
@settings(max_examples=300)
def test_random_messages_give_a_reason(parser: str, data: bytes) -> None:
    assert reason_of(parse_with, parser, data, samples.KEY) is not None


@given(payload=st.binary(max_size=60) | st.builds(cbor.encode, st.dictionaries(st.integers(0, 9), samples.VALUES)))
@settings(max_examples=200)
def test_any_payload_under_the_right_key_gives_an_answer_or_a_reason(payload: bytes) -> None:
    protected = {cose.ALGORITHM: cose.ALGORITHM_HMAC_256, cose.CONTENT_TYPE: 60, cose.KEY_ID: samples.KEY_ID}
    data = cose.encode_mac0(samples.KEY, protected, payload)
    assert reason_of(downlink.parse_answer, data, samples.KEY) != "bad_tag"


def test_the_mac_is_checked_before_the_payload_is_read() -> None:
    protected = cbor.encode({cose.ALGORITHM: 5, cose.CONTENT_TYPE: 60, cose.KEY_ID: samples.KEY_ID})
    tag = hmac_sha256(b"another key", cose.mac_structure(protected, b"\xff"))
    message = cbor.encode(cbor.Tag(17, [protected, {}, b"\xff", tag]))
    assert reason_of(downlink.parse_answer, message, samples.KEY) == "bad_tag"
    assert reason_of(downlink.parse_answer, message, b"another key") == "unexpected_break"


def test_an_envelope_over_the_limit_is_refused_unread() -> None:
    protected = envelope.protected_header(envelope.Header(bytes(8), 1, None, envelope.Clock(0, 0, 0)))
    head = len(cose.encode_sign1(protected, bytes(7000), bytes(64))) - 7000
    fits = cose.encode_sign1(protected, bytes(8192 - head), bytes(64))
    assert len(fits) == 8192
    assert envelope.parse_envelope(fits).header.sequence == 1
    assert reason_of(envelope.parse_envelope, fits + b"\x00") == "too_large"
