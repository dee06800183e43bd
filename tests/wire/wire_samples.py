"""Hypothesis strategies and sample messages that the wire tests share."""

from typing import Any

from hypothesis import strategies as st

from thingroom_wire import cbor, command, cose, downlink, envelope, hello, keys, manifest, senml
from thingroom_wire.ed25519 import sign
from thingroom_wire.limits import MAX_BUNDLE, MAX_HELD, MAX_SEQUENCE

SEED = bytes(range(32))
PUBLIC = bytes.fromhex("03a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8")
KEY_ID = keys.key_id(PUBLIC)
KEY = bytes(range(64, 96))

NAME_CHARACTERS = "abcXYZ019-:./_"
SEQUENCES = st.integers(1, MAX_SEQUENCE)
COUNTERS = st.integers(0, MAX_SEQUENCE)
INTEGERS = st.integers(-(2**64), 2**64 - 1)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
EIGHT_BYTES = st.binary(min_size=8, max_size=8)
PUBLIC_KEYS = st.binary(min_size=32, max_size=32)

VALUES = st.one_of(
    INTEGERS,
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(cbor.Decimal, INTEGERS, st.integers(-1000, 1000)),
    st.booleans(),
    TEXT,
    st.binary(max_size=30),
)
RECORDS = st.builds(
    senml.Record,
    st.text(NAME_CHARACTERS, max_size=12),
    st.none() | st.sampled_from(["Cel", "%RH", "Pa", "/"]),
    VALUES,
    st.integers(-(2**40), 0),
)


@st.composite
def headers(draw: st.DrawFn) -> Any:
    sequence = draw(SEQUENCES)
    predecessor = None
    if sequence > 1 and draw(st.booleans()):
        predecessor = (draw(st.integers(1, sequence - 1)), draw(EIGHT_BYTES))
    clock = envelope.Clock(draw(st.sampled_from([0, 1, 2])), draw(COUNTERS), draw(COUNTERS))
    return envelope.Header(draw(EIGHT_BYTES), sequence, predecessor, clock)


@st.composite
def spans(draw: st.DrawFn, with_reason: bool) -> Any:
    first = draw(SEQUENCES)
    span = (first, draw(st.integers(first, MAX_SEQUENCE)))
    return (*span, draw(TEXT)) if with_reason else span


ANSWERS = st.builds(
    downlink.Answer,
    st.lists(spans(False), max_size=5),
    st.none() | COUNTERS,
    st.none() | EIGHT_BYTES,
    st.lists(spans(True), max_size=5),
    st.none() | PUBLIC_KEYS,
    st.none() | PUBLIC_KEYS,
    st.lists(st.binary(max_size=20), max_size=4),
    st.none() | COUNTERS,
)


@st.composite
def held(draw: st.DrawFn) -> Any:
    """What an outbox holds: its newest number and ascending ranges up to it."""
    ends = sorted(draw(st.sets(SEQUENCES, max_size=2 * MAX_HELD)))
    waiting = list(zip(ends[::2], ends[1::2], strict=False))
    return draw(st.integers(waiting[-1][1] if waiting else 0, MAX_SEQUENCE)), waiting


NAMES = st.text("abcxyz019_", min_size=1, max_size=32)


@st.composite
def hellos(draw: st.DrawFn, pairing: bool | None = None) -> Any:
    if pairing is None:
        pairing = draw(st.booleans())
    return hello.Hello(
        KEY_ID,
        draw(EIGHT_BYTES),
        draw(COUNTERS),
        draw(COUNTERS),
        draw(COUNTERS),
        draw(TEXT),
        draw(TEXT),
        PUBLIC if pairing else None,
        draw(PUBLIC_KEYS) if pairing else None,
        draw(st.none() | TEXT),
        draw(st.none() | COUNTERS),
        draw(st.none() | held()),
        draw(st.none() | st.tuples(NAMES, COUNTERS, NAMES)),
    )


NUMBERS = st.integers(-(2**31) + 1, 2**31 - 1)
NUMBERS = NUMBERS | st.builds(cbor.Decimal, NUMBERS, st.integers(-9, 9))
CONFIGURATIONS = st.builds(
    command.Configuration,
    SEQUENCES,
    st.none() | st.integers(1, command.MAX_INTERVAL_MS),
    st.none() | st.integers(1, command.MAX_INTERVAL_MS),
    st.none() | st.text("abc ß°", min_size=1, max_size=30),
    st.dictionaries(NAMES, NUMBERS, max_size=3),
    st.dictionaries(NAMES, st.tuples(NUMBERS, NUMBERS), max_size=3),
)


@st.composite
def commands(draw: st.DrawFn) -> Any:
    nonce = draw(st.none() | EIGHT_BYTES)
    within = None if nonce is None else draw(COUNTERS)
    configuration = draw(st.none() | CONFIGURATIONS)
    actuator = value = None
    if configuration is None:
        actuator = draw(NAMES)
        value = draw(st.booleans() | INTEGERS | st.builds(cbor.Decimal, INTEGERS, st.integers(-1000, 1000)) | TEXT)
    kid, counter, expires = draw(EIGHT_BYTES), draw(SEQUENCES), draw(COUNTERS)
    return command.Command(kid, counter, expires, nonce, within, actuator, value, configuration)


COMMANDS = commands()


def sample_command() -> bytes:
    """A command to an actuator with every label that the format has."""
    plain = command.Command(KEY_ID, 7, 1_700_000_000_250, bytes(8), 60_000, "heater", cbor.Decimal(215, -1), None)
    return command.encode_command(SEED, KEY_ID, plain)


def sample_configuration() -> bytes:
    """A command that brings a whole configuration."""
    calibration = {"temperature": (cbor.Decimal(1005, -3), cbor.Decimal(-4, -1))}
    whole = command.Configuration(3, 60_000, 600_000, "Kitchen", {"temperature": cbor.Decimal(2, -1)}, calibration)
    plain = command.Command(KEY_ID, 8, 1_700_000_000_250, None, None, None, None, whole)
    return command.encode_command(SEED, KEY_ID, plain)


MANIFESTS = st.builds(
    manifest.Manifest,
    EIGHT_BYTES,
    SEQUENCES,
    COUNTERS,
    NAMES,
    NAMES,
    st.sampled_from((manifest.FILES, manifest.IMAGE)),
    st.integers(1, MAX_BUNDLE),
    st.binary(min_size=32, max_size=32),
    st.integers(1, manifest.MAX_PATIENCE),
)


def sample_manifest() -> bytes:
    """A manifest with every label that the format has."""
    plain = manifest.Manifest(KEY_ID, 7, 2_000, "0.2.0", "armv6m", manifest.FILES, 100_000, bytes(range(32)), 600)
    return manifest.encode_manifest(SEED, KEY_ID, plain)


def sample_ask() -> bytes:
    """A question for a block, under KEY."""
    return manifest.encode_ask(KEY, KEY_ID, manifest.Ask(7, 512, 512))


def sample_block() -> bytes:
    """A block, under KEY."""
    return manifest.encode_block(KEY, KEY_ID, manifest.Block(7, 512, bytes(range(256))))


def sample_envelope(algorithm: int = cose.ALGORITHM_ED25519) -> bytes:
    """A signed envelope with every header parameter that the format has."""
    header = envelope.Header(KEY_ID, 7, (6, bytes(range(8))), envelope.Clock(envelope.DRIFTING, 2, 61_000))
    protected = cbor.decode(envelope.protected_header(header))
    protected[cose.ALGORITHM] = algorithm
    protected_bytes = cbor.encode(protected)
    records = [
        senml.Record("temperature", "Cel", cbor.Decimal(2150, -2), -1500),
        senml.Record("humidity", "%RH", 45, 0),
        senml.Record("state", None, "dry", 0),
    ]
    payload = senml.encode_pack(keys.base_name(keys.eui64_from_key_id(KEY_ID)), 1_700_000_000_250, records)
    signature = sign(SEED, cose.sig_structure(protected_bytes, payload), PUBLIC)
    return cose.encode_sign1(protected_bytes, payload, signature)


def sample_answer() -> bytes:
    """An answer under KEY with every label that the format has."""
    answer = downlink.Answer(
        [(1, 4), (6, 6)], 1_700_000_000_250, bytes(8), [(5, 5, "no_value")], PUBLIC, PUBLIC, [b"a command"], 5000
    )
    return downlink.encode_answer(KEY, KEY_ID, answer)


def sample_hello() -> bytes:
    """A pairing device's signed hello, without its wrapping."""
    return hello.encode_hello(
        SEED,
        hello.Hello(
            KEY_ID,
            bytes(8),
            1,
            2,
            3,
            "0.1.0",
            "bme280",
            PUBLIC,
            bytes(range(32)),
            "Kitchen",
            7,
            (9, [(2, 4), (9, 9)]),
            ("armv6m", 9, "done"),
        ),
    )


def sample_pairing_hello() -> bytes:
    """The same hello wrapped under KEY."""
    return hello.encode_pairing_hello(KEY, KEY_ID, sample_hello())
