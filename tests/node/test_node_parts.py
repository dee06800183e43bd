"""The pure parts of the node on CPython: numbering, clock, window, answers, settings, back-off, simulated sensors."""

import json
import random
from collections import namedtuple
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey, VerifyKey

from thingroom_node import clock, identity, node
from thingroom_node.answers import Judge
from thingroom_node.clock import Clock, Moment, Uptime
from thingroom_node.counters import BLOCK, open_counters
from thingroom_node.drivers.simulated import Simulated
from thingroom_node.links.backoff import Backoff
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_node.window import SIZE, Window
from thingroom_wire import cbor, cose, downlink, envelope, keys, senml
from thingroom_wire.errors import WireError

KEY_ID = b"\x01\x02\x03\x04\x05\x06\x07\x08"
MOMENT = Moment(envelope.SYNCHRONISED, 5000, 1_700_000_000_000)


def test_numbers_go_on_behind_what_was_reserved(tmp_path: Path) -> None:
    path = str(tmp_path / "counters")
    records = [senml.Record("temperature", "Cel", cbor.Decimal(215, -1), 0)]
    used = []
    newest = None
    for boot in range(1, 4):
        counters = open_counters(path, boot == 1)
        assert counters.boot == boot
        numbering = node.Numbering(KEY_ID, "urn:dev:mac:0302030405060708_", counters, newest)
        for _ in range(BLOCK + 3):
            numbered = numbering.number(records, MOMENT)
            numbering.chain(numbered)
            used.append(numbered)
        newest = tuple(used[-1])
    sequences = [numbered.sequence for numbered in used]
    assert sequences == sorted(set(sequences)) and sequences[0] == 1
    assert sequences[BLOCK + 3] == 2 * BLOCK + 1
    previous = None
    for numbered in used:
        parsed = envelope.parse_envelope(cose.encode_sign1(numbered.protected, numbered.payload, bytes(64)))
        assert parsed.header.predecessor == previous and parsed.header.sequence == numbered.sequence
        previous = (numbered.sequence, envelope.digest(numbered.protected, numbered.payload))


def test_the_chain_goes_on_from_the_counters_when_the_outbox_is_gone(tmp_path: Path) -> None:
    path = str(tmp_path / "counters")
    numbering = node.Numbering(KEY_ID, "urn:dev:mac:0302030405060708_", open_counters(path, True), None)
    for _ in range(BLOCK + 1):
        last = numbering.number([senml.Record("a", None, 1, 0)], MOMENT)
        numbering.chain(last)
    again = node.Numbering(KEY_ID, "urn:dev:mac:0302030405060708_", open_counters(path, False), None)
    after = again.number([senml.Record("a", None, 1, 0)], MOMENT)
    parsed = envelope.parse_envelope(cose.encode_sign1(after.protected, after.payload, bytes(64)))
    assert parsed.header.sequence == 2 * BLOCK + 1 and parsed.header.predecessor[0] == BLOCK


def test_a_number_that_could_not_be_stored_is_skipped(tmp_path: Path) -> None:
    counters = open_counters(str(tmp_path / "counters"), True)
    numbering = node.Numbering(KEY_ID, "urn:dev:mac:0302030405060708_", counters, None)
    first = numbering.number([senml.Record("a", None, 1, 0)], MOMENT)
    numbering.chain(first)
    numbering.number([senml.Record("a", None, 2, 0)], MOMENT)
    third = numbering.number([senml.Record("a", None, 3, 0)], MOMENT)
    parsed = envelope.parse_envelope(cose.encode_sign1(third.protected, third.payload, bytes(64)))
    assert parsed.header.sequence == 3 and parsed.header.predecessor[0] == 1


def test_keys_are_made_once_and_sign(tmp_path: Path) -> None:
    own = identity.open_identity(str(tmp_path))
    assert identity.open_identity(str(tmp_path)) == own and own.key_id == keys.key_id(own.public)
    assert bytes(SigningKey(own.seed).verify_key) == own.public
    signed = envelope.parse_envelope(
        node.sign(
            own,
            envelope.protected_header(envelope.Header(own.key_id, 1, None, envelope.Clock(2, 1, 0))),
            senml.encode_pack("urn:dev:mac:0302030405060708_", None, [senml.Record("a", None, 1, 0)]),
        )
    )
    VerifyKey(own.public).verify(signed.signed_bytes, signed.signature)
    assert identity.load_gateway(str(tmp_path)) is None
    other = identity.open_identity(str(_made(tmp_path / "other")))
    pinned = identity.pin_gateway(str(tmp_path), own, other.public, other.agreement_public, b"mark")
    assert identity.load_gateway(str(tmp_path)) == pinned
    with pytest.raises(WireError):
        identity.pin_gateway(str(tmp_path), own, other.public, bytes(32), b"")
    assert identity.code_mark(b"") == b"" and len(identity.code_mark(bytes(16))) == 8


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


class ManualTicks:
    """A tick counter that wraps at 1000, as `time.ticks_ms` wraps at its own size."""

    def __init__(self) -> None:
        self.now = 990

    def __call__(self) -> int:
        return self.now % 1000

    def diff(self, later: int, earlier: int) -> int:
        return (later - earlier) % 1000


def test_uptime_survives_the_counters_wrap() -> None:
    ticks = ManualTicks()
    uptime = Uptime(ticks, ticks.diff)
    assert uptime() == 0
    for _ in range(20):
        ticks.now += 400
        uptime()
    assert uptime() == 8000


def test_the_clock_learns_and_drifts() -> None:
    uptime = [0]
    node_clock = Clock(lambda: uptime[0])
    assert node_clock.now() == Moment(envelope.UNSET, 0, None)
    uptime[0] = 1200
    assert node_clock.learn(1_000_000, 1000)
    assert node_clock.now() == Moment(envelope.SYNCHRONISED, 1200, 1_000_100)
    uptime[0] += clock.DRIFTING_AFTER_MS
    assert node_clock.now().state == envelope.SYNCHRONISED
    uptime[0] += 1
    assert node_clock.now() == Moment(envelope.DRIFTING, uptime[0], 1_000_100 + uptime[0] - 1200)
    assert not node_clock.learn(5, uptime[0] - clock.MAX_ROUND_TRIP_MS - 1)
    assert not node_clock.learn(5, uptime[0] + 1)
    assert node_clock.now().state == envelope.DRIFTING


def test_the_hosts_clock_only_on_request() -> None:
    assert Clock(lambda: 7, host=lambda: 99).now() == Moment(envelope.SYNCHRONISED, 7, 99)


Place = namedtuple("Place", ("sequence",))


class Waiting:
    """What a Window asks of an outbox, over a set of numbers."""

    def __init__(self, numbers: set[int]) -> None:
        self.numbers = numbers
        self.newest = max(numbers, default=0)

    def next_pending(self, after: int) -> Place | None:
        sequence = min((number for number in self.numbers if number > after), default=None)
        return None if sequence is None else Place(sequence)

    def newest_pending(self) -> Place | None:
        return Place(self.newest) if self.newest in self.numbers else None


def drain(window: Window, outbox: Waiting, now: int) -> list[int]:
    """Send all that may be sent at `now`."""
    sent = []
    while (place := window.choose(outbox, now)) is not None:
        window.sent(place, now, place == outbox.newest_pending())
        sent.append(place.sequence)
        assert len(sent) < 100
    return sent


def test_oldest_first_and_the_newest_among_them() -> None:
    window, outbox = Window(), Waiting(set(range(1, 101)))
    assert drain(window, outbox, 0) == [100, *range(1, SIZE)]
    assert drain(window, outbox, 14_999) == []
    outbox.numbers -= {1, 2, 3}
    window.heard(1, 3, 15_000)
    assert drain(window, outbox, 15_000)[:3] == [16, 17, 18]


def test_silence_is_probed_less_and_less() -> None:
    window, outbox = Window(), Waiting(set(range(1, 51)))
    drain(window, outbox, 0)
    probes = []
    now = 0
    while now < 600_000:
        now += window.wait_ms(now)
        probes += [now] * len(drain(window, outbox, now))
    gaps = [two - one for one, two in pairwise(probes)]
    assert gaps[:4] == [15_000, 30_000, 60_000, 120_000] and set(gaps[4:]) == {120_000}
    window.heard(50, 50, now)
    outbox.numbers -= {50}
    again = drain(window, outbox, now)
    assert len(again) >= SIZE - 2, "the first answer ends the probing: all that is overdue goes out"


def test_what_could_not_be_sent_is_chosen_again() -> None:
    window, outbox = Window(), Waiting({1, 2, 3, 4})
    assert sorted(drain(window, outbox, 0)) == [1, 2, 3, 4]
    window.drop(2)
    assert drain(window, outbox, 1) == [2]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 60))
def test_everything_arrives_over_any_loss(seed: int, count: int) -> None:
    chance = random.Random(seed)
    window, outbox = Window(), Waiting(set(range(1, count + 1)))
    arrived = set()
    now = 0
    for _ in range(4000):
        place = window.choose(outbox, now)
        if place is None:
            if not outbox.numbers:
                break
            wait = window.wait_ms(now)
            assert wait is not None
            now += max(1, wait)
            continue
        assert place.sequence in outbox.numbers
        window.sent(place, now, place == outbox.newest_pending())
        assert len(window) <= SIZE
        now += 1
        if chance.random() < 0.1:
            window.drop(place.sequence)
        elif chance.random() < 0.6:
            arrived.add(place.sequence)
            outbox.numbers.discard(place.sequence)
            window.heard(place.sequence, place.sequence, now)
    assert arrived == set(range(1, count + 1))


def answer_bytes(key: bytes = bytes(32), kid: bytes = KEY_ID, **fields: object) -> bytes:
    empty = {"acknowledged": [], "time": None, "nonce": None, "refused": [], "gateway_key": None}
    return downlink.encode_answer(
        key, kid, downlink.Answer(**{**empty, "agreement_key": None, "commands": [], "pause": None, **fields})
    )


def test_a_nonce_counts_once_and_not_for_ever() -> None:
    judge = Judge(KEY_ID)
    judge.asked(b"nonce--1", 100)
    judge.asked(b"nonce--2", 200)
    data = answer_bytes(time=77, nonce=b"nonce--1", acknowledged=[(1, 2)])
    believed = judge.judge(data, bytes(32), 10, 300)
    assert (believed.time, believed.asked_at, believed.acknowledged) == (77, 100, [(1, 2)])
    assert judge.judge(data, bytes(32), 10, 301) is None
    late = answer_bytes(time=77, nonce=b"nonce--2")
    assert judge.judge(late, bytes(32), 10, 200 + 120_001) is None
    assert judge.dropped == {"replayed": 2}


def test_time_without_a_nonce_is_not_taken() -> None:
    believed = Judge(KEY_ID).judge(answer_bytes(time=77, acknowledged=[(3, 3)]), bytes(32), 10, 0)
    assert believed.time is None and believed.acknowledged == [(3, 3)]


def test_keys_without_a_nonce_are_not_believed() -> None:
    judge = Judge(KEY_ID)
    assert judge.judge(answer_bytes(gateway_key=bytes(32), agreement_key=bytes(32)), bytes(32), 10, 0) is None
    assert judge.dropped == {"no_nonce": 1}


@given(st.binary(max_size=300))
def test_no_bytes_are_believed_by_chance(data: bytes) -> None:
    judge = Judge(KEY_ID)
    assert judge.judge(data, b"k" * 32, 10**9, 0) is None and sum(judge.dropped.values()) == 1


@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_changed_bit_is_never_believed(position: int, change: int) -> None:
    judge = Judge(KEY_ID)
    data = bytearray(answer_bytes(acknowledged=[(1, 5)]))
    data[position % len(data)] ^= change
    assert judge.judge(bytes(data), bytes(32), 10, 0) is None


GOOD = {"directory": "/d/", "profile": "climate", "host": "h", "sensor": {"kind": "simulated"}}


def test_settings_and_their_defaults() -> None:
    parsed = parse_settings(json.dumps(GOOD))
    assert (parsed.directory, parsed.link, parsed.port, parsed.clock) == ("/d", "mqtt", 1883, "gateway")
    assert parsed.pairing_code == b"" and parsed.gateway_key is None
    parsed = parse_settings(
        json.dumps({**GOOD, "link": "coap", "pairing_code": "0011-2233 4455 6677 8899 AABB ccdd eeff"})
    )
    assert parsed.baud == 115200 and parse_settings(json.dumps({**GOOD, "link": "serial", "baud": 9600})).baud == 9600
    assert parsed.port == 5683 and parsed.pairing_code == bytes.fromhex("00112233445566778899aabbccddeeff")
    parsed = parse_settings(json.dumps({**GOOD, "gateway": {"key": "11" * 32, "agreement_key": "22" * 32}}))
    assert parsed.gateway_key == b"\x11" * 32 and parsed.gateway_agreement_key == b"\x22" * 32


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"tls": True},
        {"tls": 1, "ca": "ca.pem"},
        {"tls": True, "ca": "ca.pem", "link": "coap"},
        {"mqtt_version": "4"},
        {"ntp": "pool.ntp.org:soon"},
        {"host": 5},
        {"link": "pigeon"},
        {"baud": 1},
        {"baud": "115200"},
        {"port": 70000},
        {"port": True},
        {"interval_ms": 0},
        {"pairing_code": "0011"},
        {"pairing_code": "zz" * 16},
        {"gateway": {"key": "11" * 32}},
        {"gateway": {"key": 5, "agreement_key": "22" * 32}},
        {"sensor": {}},
        {"clock": "sundial"},
        {"outbox_bytes": 10},
    ],
)
def test_bad_settings_are_said(change: dict) -> None:
    with pytest.raises(SettingsError):
        parse_settings(json.dumps({**GOOD, **change}))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"directory": "/d"}'])
def test_no_settings_at_all(text: str) -> None:
    with pytest.raises(SettingsError):
        parse_settings(text)


def test_backoff_doubles_with_jitter_and_starts_again() -> None:
    longest = Backoff(lambda limit: limit - 1, 1000, 8000)
    assert [longest.next_ms() for _ in range(5)] == [1000, 2000, 4000, 8000, 8000]
    longest.reset()
    assert longest.next_ms() == 1000
    shortest = Backoff(lambda limit: 0, 1000, 8000)
    assert [shortest.next_ms() for _ in range(3)] == [500, 1000, 2000]


def number_of(value: object) -> float:
    return value.mantissa * 10.0**value.exponent if isinstance(value, cbor.Decimal) else float(value)


@pytest.mark.parametrize(
    ("profile", "ranges"),
    [
        ("climate", {"temperature": (17, 26), "humidity": (40, 65)}),
        ("soil", {"moisture": (20, 65), "battery": (3.2, 4.2)}),
    ],
)
def test_simulated_values_are_plausible_and_repeatable(profile: str, ranges: dict) -> None:
    sensor, twin, other = Simulated(profile, 3), Simulated(profile, 3), Simulated(profile, 4)
    readings = [sensor.read() for _ in range(3000)]
    assert readings == [twin.read() for _ in range(3000)] != [other.read() for _ in range(3000)]
    for name, (low, high) in ranges.items():
        values = [number_of(r.value) for reading in readings for r in reading if r.name == name]
        assert low <= min(values) < max(values) <= high and len(values) == 3000
    assert not any(isinstance(record.value, float) for reading in readings for record in reading)
    senml.encode_pack("urn:dev:mac:0302030405060708_", 0, readings[0])
