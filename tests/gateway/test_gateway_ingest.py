"""The one door: anybody's COSE, any garbage, clocks, bounded queues, and pairing's conditions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from pycose.headers import KID, Algorithm, ContentType
from pycose.keys import OKPKey
from pycose.keys.keyparam import KpKty, OKPKpCurve, OKPKpD, OKPKpX
from pycose.messages import Sign1Message
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import TIME, Thing, eventually, gateway
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.app import Gateway
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.enrolment import Candidate, Enrolled, NotEnrolled
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.outcomes import Accepted, Duplicate, Frame, Greeted, Outcome, Refused, Rejected
from thingroom_gateway.pairing import Pairing
from thingroom_wire import cose, envelope
from thingroom_wire.hello import Hello, encode_pairing_hello, hello_parts
from thingroom_wire.keys import pairing_keys


class Door:
    """Offers one frame at a time and waits for its outcome."""

    def __init__(self, running: Gateway) -> None:
        self.ingest = running.ingest
        self._outcomes: asyncio.Queue[Outcome] = asyncio.Queue()

    async def send(self, payload: bytes, kind: str = "up") -> Outcome:
        assert self.ingest.offer(Frame(kind, payload, "mqtt"), self)  # type: ignore[arg-type]
        return await asyncio.wait_for(self._outcomes.get(), PATIENCE_SECONDS)

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        for _, outcome in settled:
            self._outcomes.put_nowait(outcome)

    def resume(self) -> None:
        raise AssertionError("one frame at a time always finds room")


def readings(running: Gateway) -> list[list[dict[str, object]]]:
    rows = running.core.database.read(
        lambda connection: connection.execute("SELECT readings FROM envelopes ORDER BY arrival").fetchall()
    )
    return [json.loads(f"[{row[0]}]") for row in rows]


def by_pycose(thing: Thing, payload: bytes) -> bytes:
    """pycose signs: algorithm -8, another map order, an unprotected header."""
    key = OKPKey.from_dict({KpKty: "OKP", OKPKpCurve: "ED25519", OKPKpD: bytes(thing.signing), OKPKpX: thing.public})
    header = {-65539: [1, 3, 77], ContentType: "application/senml+cbor", -65537: 42, KID: thing.kid, Algorithm: "EDDSA"}
    message = Sign1Message(phdr=header, uhdr={"anything": 1}, payload=payload, key=key)
    encoded: bytes = message.encode()
    return encoded


def by_cbor2(thing: Thing, payload: bytes) -> bytes:
    """cbor2 encodes, PyNaCl signs: algorithm -19, a map in no order, a critical header that we know."""
    protected = cbor2.dumps({-65539: [1, 3, 77], -65537: 42, 4: thing.kid, 3: 112, 1: -19, 2: [-65537]})
    signature = thing.signing.sign(cbor2.dumps(["Signature1", protected, b"", payload])).signature
    encoded: bytes = cbor2.dumps(cbor2.CBORTag(18, [protected, {}, payload, signature]))
    return encoded


@pytest.mark.parametrize("encode", [by_pycose, by_cbor2])
async def test_an_envelope_of_any_cose_library_is_as_good(
    config: GatewayConfig, encode: Callable[[Thing, bytes], bytes]
) -> None:
    """Floats and indefinite lengths in the payload, too."""
    thing = Thing()
    first = {-2: "urn:dev:mac:0224befffe804ff1_", -3: TIME / 1000, 0: "temperature", 1: "Cel", 2: 21.5}
    payload = b"\x9f" + cbor2.dumps(first) + cbor2.dumps({2: 45.25, 1: "%RH", 0: "humidity"}) + b"\xff"
    data = encode(thing, payload)
    async with gateway(config, thing) as running:
        assert await Door(running).send(data) == Accepted(thing.kid, 42)
        (found,) = readings(running)
        assert [(r["name"], r["value"], r["clock"]) for r in found] == [
            ("temperature", "21.5", "drifting"),
            ("humidity", "45.25", "drifting"),
        ]


@given(st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_get_past_the_door_but_a_devices(examined: Ingest, data: st.DataObject) -> None:
    """Mutations of a good envelope, and noise: a reason, never an exception, never an acceptance."""
    good = Thing().envelope(9)
    kind = data.draw(st.sampled_from(["noise", "flip", "cut", "insert", "tagged"]))
    at = data.draw(st.integers(0, len(good) - 1))
    payload = {
        "noise": lambda: data.draw(st.binary(max_size=300)),
        "flip": lambda: good[:at] + bytes((good[at] ^ data.draw(st.integers(1, 255)),)) + good[at + 1 :],
        "cut": lambda: good[:at],
        "insert": lambda: good[:at] + data.draw(st.binary(min_size=1, max_size=5)) + good[at:],
        "tagged": lambda: b"\xd2\x84" + data.draw(st.binary(max_size=200)),
    }[kind]()
    [outcome] = examined.examiner.envelopes([Frame("up", payload, "mqtt")], TIME)
    assert isinstance(outcome, Rejected), outcome
    assert outcome.reason.replace("_", "").isalnum()


@given(st.binary(max_size=120), st.booleans())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_signed_payload_of_noise_is_refused(examined: Ingest, noise: bytes, is_map: bool) -> None:
    payload = b"\x81\xa3" + noise if is_map else noise
    [outcome] = examined.examiner.envelopes([Frame("up", Thing().envelope(9, payload=payload), "mqtt")], TIME)
    assert isinstance(outcome, Refused), outcome


@pytest.fixture(scope="module")
def examined(tmp_path_factory: pytest.TempPathFactory) -> Ingest:
    """The door without its loop: for what happens before the ledger."""
    from thingroom_gateway.counters import Counters
    from thingroom_gateway.devices import Registry
    from thingroom_gateway.profiles import load_profiles
    from thingroom_gateway.quotas import Quotas
    from thingroom_gateway.storage.devices import DeviceRow

    thing = Thing()
    row = DeviceRow(1, thing.kid, thing.public, bytes(32), bytes(32), "Kitchen", "Kitchen", "climate", "active", 0)
    return Ingest(
        None,  # type: ignore[arg-type]
        Registry([row], load_profiles()),
        None,  # type: ignore[arg-type]
        Counters({}),
        None,  # type: ignore[arg-type]
        lambda: TIME,
        "0123456789abcdef",
        10,
        10_000,
        Quotas(0, 0, lambda: 0),
    )


async def test_times_without_a_clock(config: GatewayConfig) -> None:
    """Unset: the time of arrival, until an envelope of the same boot tells when it began; also after a restart."""
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        await door.send(thing.envelope(1, thing.pack(time_ms=None), clock=(envelope.UNSET, 7, 1_000)))
        await door.send(thing.envelope(2, thing.pack(time_ms=TIME), clock=(envelope.SYNCHRONISED, 7, 61_000)))
        await door.send(thing.envelope(3, thing.pack(time_ms=None), clock=(envelope.UNSET, 7, 31_000)))
    async with gateway(config, thing) as running:
        door = Door(running)
        await door.send(thing.envelope(4, thing.pack(time_ms=None), clock=(envelope.UNSET, 7, 91_000)))
        await door.send(thing.envelope(5, thing.pack(time_ms=None), clock=(envelope.UNSET, 8, 1_000)))
        one, two, three, four, five = readings(running)
    assert one[0]["clock"] == "unset"
    assert abs(int(str(one[0]["ts"])) - TIME) < 300_000
    assert (two[0]["ts"], two[0].get("clock")) == (TIME, None)
    assert (three[0]["ts"], three[0]["clock"]) == (TIME - 30_000, "drifting")
    assert (four[0]["ts"], four[0]["clock"]) == (TIME + 30_000, "drifting")
    assert five[0]["clock"] == "unset"


async def test_copies_in_one_batch_are_one(config: GatewayConfig) -> None:
    thing = Thing()
    data = thing.envelope()
    async with gateway(config, thing) as running:
        door = Door(running)
        for _ in range(5):
            running.ingest.offer(Frame("up", data, "mqtt"), door)
        outcomes = [await door.send(data) for _ in range(1)] + [await door._outcomes.get() for _ in range(5)]
        assert outcomes == [Accepted(thing.kid, 1)] + [Duplicate(thing.kid, 1)] * 5


async def test_frames_that_are_examined_together_keep_their_order_and_their_fates(config: GatewayConfig) -> None:
    """Good and bad ones mixed, longer than a sweep, and a device that pairs between its own readings."""
    thing, new = Thing(1), Thing(2, name="Cellar")
    async with gateway(config, thing) as running:
        door = Door(running)
        window = running.core.pairing.open(1)
        sent: list[tuple[str, bytes]] = []
        expected: list[Outcome] = []
        for number in range(1, 201):
            good = thing.envelope(number)
            if number % 3 == 0:
                sent.append(("up", good[:-1] + bytes((good[-1] ^ 1,))))
                expected.append(Rejected("bad_signature"))
            elif number % 5 == 0:
                sent.append(("up", good[: number % 50]))
                expected.append(Rejected("truncated" if number % 50 == 0 else "length_exceeds_input"))
            elif number % 7 == 0:
                sent.append(("up", thing.envelope(number, thing.pack(5000))))
                expected.append(Refused(thing.kid, number, "above_range"))
            else:
                sent.append(("up", good))
                expected.append(Accepted(thing.kid, number))
        sent[90:90] = [("up", new.envelope(1)), ("hello", new.pairing_hello(window.code)), ("up", new.envelope(2))]
        expected[90:90] = [Rejected("unknown_device"), Greeted(new.kid, b"", paired=True), Accepted(new.kid, 2)]
        for kind, payload in sent:
            assert running.ingest.offer(Frame(kind, payload, "mqtt"), door)  # type: ignore[arg-type]
        outcomes = [await asyncio.wait_for(door._outcomes.get(), PATIENCE_SECONDS) for _ in sent]
        found = [Greeted(one.kid, b"", one.paired) if isinstance(one, Greeted) else one for one in outcomes]
        assert found == expected


async def test_the_queue_is_bounded_and_says_when_there_is_room(config: GatewayConfig) -> None:
    thing = Thing()
    limits = type(config.limits)(queue_frames=10, queue_bytes=100_000)
    config = type(config)(**{**{f: getattr(config, f) for f in config.__struct_fields__}, "limits": limits})

    class Slow(Door):
        resumed = 0

        def resume(self) -> None:
            self.resumed += 1

    async with gateway(config, thing) as running:
        door = Slow(running)
        offered = [door.ingest.offer(Frame("up", thing.envelope(), "mqtt"), door) for _ in range(30)]
        assert offered == [True] * 10 + [False] * 20
        await eventually(lambda: door.resumed == 1)
        for _ in range(10):
            await door._outcomes.get()
        large = [door.ingest.offer(Frame("up", bytes(40_000), "mqtt"), door) for _ in range(4)]
        assert large == [True, True, False, False]


async def test_other_shards_are_not_ours(config: GatewayConfig) -> None:
    thing = Thing()
    others = "0123456789abcdef".replace(thing.hex[0], "")
    mqtt = type(config.mqtt)(enabled=False, shards=others)
    config = type(config)(**{**{f: getattr(config, f) for f in config.__struct_fields__}, "mqtt": mqtt})
    async with gateway(config, thing) as running:
        assert await Door(running).send(thing.envelope()) == Rejected("other_shard")


# --- pairing and enrolment -------------------------------------------------------------------------------------------


@pytest.fixture
async def pairing(config: GatewayConfig) -> AsyncIterator[tuple[Gateway, Pairing, list[float]]]:
    """Pairing by a clock of the test's."""
    async with gateway(config) as running:
        clock = [1000.0]
        core = running.core
        yield running, Pairing(core.enrolment, core.keys, lambda: TIME, lambda: clock[0]), clock


async def test_pairing_ends_in_time(pairing: tuple[Gateway, Pairing, list[float]]) -> None:
    _, door, clock = pairing
    window = door.open(2)
    assert len(window.code) == 39
    clock[0] += 119
    assert isinstance(await door.greet(Thing(1).pairing_hello(window.code)), Greeted)
    clock[0] += 2
    assert await door.greet(Thing(2).pairing_hello(window.code)) == Rejected("pairing_closed")
    assert door.current() is None


async def test_a_new_code_voids_the_old(pairing: tuple[Gateway, Pairing, list[float]]) -> None:
    _, door, _ = pairing
    old, new = door.open(2), door.open(2)
    assert old.code != new.code
    assert await door.greet(Thing(1).pairing_hello(old.code)) == Rejected("wrong_pairing_code")
    assert isinstance(await door.greet(Thing(1).pairing_hello(new.code)), Greeted)


async def test_the_code_alone_is_not_enough(pairing: tuple[Gateway, Pairing, list[float]]) -> None:
    """Who knows the code still has to sign with the key that is enrolled, and to have keys at all."""
    running, door, _ = pairing
    window = door.open(2)
    key = pairing_keys(bytes.fromhex(window.code.replace(" ", ""))).device
    thing, thief = Thing(1), SigningKey((99).to_bytes(32, "big"))
    public = thing.public, thing.agreement_public
    hello = Hello(thing.kid, b"12345678", 1, 1, 0, "", "climate", *public, "K", None, None, None)
    protected, payload = hello_parts(hello)
    stolen = cose.encode_sign1(protected, payload, thief.sign(cose.sig_structure(protected, payload)).signature)
    assert await door.greet(encode_pairing_hello(key, thing.kid, stolen)) == Rejected("bad_signature")
    assert await door.greet(encode_pairing_hello(key, thing.kid, thing.hello())) == Rejected("missing_key")
    assert await door.greet(thing.pairing_hello(window.code)[:-1]) == Rejected("length_exceeds_input")
    odd = Thing(1, profile="teapot")
    assert await door.greet(odd.pairing_hello(window.code)) == Rejected("unknown_profile")
    assert len(running.core.registry) == 0


async def test_who_is_not_enrolled(config: GatewayConfig) -> None:
    thing = Thing()
    good = thing.candidate
    cases = {
        "bad_device_key": Candidate(bytes(32), good.agreement_key, "n", "climate"),
        "bad_agreement_key": Candidate(good.device_key, bytes(32), "n", "climate"),
        "unknown_profile": Candidate(good.device_key, good.agreement_key, "n", "x"),
        "bad_name": Candidate(good.device_key, good.agreement_key, "a\x1bb", "climate"),
    }
    async with gateway(config) as running:
        enrolment = running.core.enrolment
        for reason, candidate in cases.items():
            assert await enrolment.enrol(candidate) == NotEnrolled(reason)
        first = await enrolment.enrol(good)
        again = await enrolment.enrol(good)
        assert isinstance(first, Enrolled)
        assert isinstance(again, Enrolled)
        assert (first.fresh, again.fresh) == (True, False)
        # The same device with a new agreement key: the same device, another downlink key.
        renewed = await enrolment.enrol(Candidate(good.device_key, Thing(5).agreement_public, "Other", "climate"))
        assert isinstance(renewed, Enrolled)
        assert not renewed.fresh
        assert renewed.device.row.name == "Kitchen"
        assert renewed.device.row.downlink_key != first.device.row.downlink_key
        await enrolment.revoke(thing.kid)
        assert await enrolment.enrol(good) == NotEnrolled("revoked")
    async with gateway(config) as running:
        device = running.core.registry.get(thing.kid)
        assert device is not None
        assert device.row.status == "revoked"


async def test_a_hello_of_a_revoked_or_unknown_device(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        assert isinstance(await door.send(thing.hello(), "hello"), Greeted)
        assert await door.send(Thing(2).hello(), "hello") == Rejected("unknown_device")
        forged = thing.hello()
        assert await door.send(forged[:-1] + bytes((forged[-1] ^ 1,)), "hello") == Rejected("bad_signature")
        assert await door.send(thing.envelope(), "hello") == Rejected("bad_content_type")
        assert await door.send(thing.hello()) == Rejected("bad_content_type")
        await running.core.enrolment.revoke(thing.kid)
        assert await door.send(thing.hello(), "hello") == Rejected("revoked_device")
