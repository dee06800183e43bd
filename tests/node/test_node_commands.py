"""Commands on the node: which are believed, that each is carried out at most once, and what a broken storage does."""

import json
import random
from decimal import Decimal as Exact
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from tests.micropython_runner import compile_package, run_file
from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.on_board import commands_fuzz
from tests.node.stand_in_gateway import StandInGateway

from thingroom_node.actuators import Actuator, Actuators
from thingroom_node.clock import Moment
from thingroom_node.commander import Commander
from thingroom_node.commands import Judge, open_journal
from thingroom_node.configuration import NONE, Sieve, calibrated, open_configuration
from thingroom_node.durable import StorageError, write_atomic
from thingroom_wire import cbor, command, cose, envelope, keys
from thingroom_wire.senml import Record

KID = bytes(range(8))
NOW = 1_700_000_000_000
GATEWAY = StandInGateway()
CODE = bytes(range(16))
ON_BOARD = Path(__file__).parent / "on_board"


def made(counter: int = 1, value: object = True, **fields: Any) -> bytes:
    return GATEWAY.command(fields.pop("device", KID), counter, value, **{"expires": NOW + 1000, **fields})


def judged(
    data: bytes, highest: int = 0, unix: int | None = NOW, uptime: int = 5000, judge: Judge | None = None
) -> Any:
    found, reason = (judge or Judge(KID)).judge(data, GATEWAY.public, highest, Moment(0, uptime, unix))
    assert (found is None) != (reason is None)
    return reason or found.counter


def test_who_may_command() -> None:
    assert judged(made()) == 1
    assert judged(made(device=bytes(8))) == "other_device"
    assert judged(made(key=SigningKey(bytes(32)))) == "other_key"
    # Signed by somebody else who claims our gateway's kid, and a changed value under a good signature.
    signed = command.parse_command(made())
    parts = command.command_parts(keys.key_id(GATEWAY.public), signed.command)
    forged = SigningKey(bytes(32)).sign(cose.sig_structure(*parts)).signature
    assert judged(cose.encode_sign1(*parts, forged)) == "bad_signature"
    other = command.command_parts(keys.key_id(GATEWAY.public), signed.command._replace(value=False))
    assert judged(cose.encode_sign1(*other, signed.signature)) == "bad_signature"


def test_counters_only_grow() -> None:
    assert judged(made(5), highest=4) == 5
    assert judged(made(5), highest=5) == judged(made(4), highest=5) == "repeated"


def test_freshness_by_clock() -> None:
    assert judged(made(), unix=NOW + 1000) == 1
    assert judged(made(), unix=NOW + 1001) == "expired"
    assert judged(made(), unix=None) == "clock_unset"


def test_freshness_by_a_hello_needs_no_clock() -> None:
    judge = Judge(KID)
    for number in range(5):
        judge.asked(bytes((number,)) * 8, 1000 * number)
    good = made(nonce=b"\4" * 8, within=500)
    assert judged(good, unix=None, uptime=4500, judge=judge) == 1
    assert judged(good, unix=None, uptime=4501, judge=judge) == "expired"
    # The clock does not make younger what the hello makes old.
    assert judged(good, unix=NOW, uptime=4501, judge=judge) == "expired"
    # The fifth hello before this one is forgotten: then the clock counts, if there is one.
    forgotten = made(nonce=b"\0" * 8, within=10**9)
    assert judged(forgotten, unix=None, judge=judge) == "clock_unset"
    assert judged(forgotten, judge=judge) == 1


@given(st.binary(max_size=200), st.integers(0, 400), st.integers(1, 255))
def test_nothing_is_believed_by_chance(data: bytes, position: int, change: int) -> None:
    assert isinstance(judged(data), str)
    changed = bytearray(made())
    changed[position % len(changed)] ^= change
    assert isinstance(judged(bytes(changed)), str)


class Driver:
    def __init__(self) -> None:
        self.values: list[object] = []
        self.broken = False

    def write(self, value: object) -> None:
        if self.broken:
            raise OSError
        self.values.append(value)

    def read(self) -> object:
        if self.broken:
            raise OSError
        return self.values[-1] if self.values else False


def board(folder: Path, driver: Driver, newest: Any = None) -> Commander:
    actuators = Actuators(
        [
            Actuator("on", "switch", driver, "on", None, 0, 1, []),
            Actuator("level", "number", driver, "level", "%", 0, 10, []),
            Actuator("mode", "select", driver, "mode", None, 0, 0, ["eco", "boost"]),
        ]
    )
    journal = open_journal(str(folder / "commands"), newest)
    return Commander(KID, journal, actuators, open_configuration(str(folder / "configuration")))


def take(commander: Commander, *arguments: Any, **fields: Any) -> Any:
    event = commander.take(made(*arguments, **fields), GATEWAY.public, Moment(0, 5000, NOW))
    return event.get("outcome") or event["reason"]


def test_values_have_to_fit(tmp_path: Path) -> None:
    driver = Driver()
    commander = board(tmp_path, driver)
    wanted = [
        ("on", True, "done"),
        ("on", 1, "bad_value"),
        ("on", "true", "bad_value"),
        ("level", 10, "done"),
        ("level", 11, "bad_value"),
        ("level", -1, "bad_value"),
        ("level", cbor.Decimal(95, -1), "done"),
        ("level", cbor.Decimal(101, -1), "bad_value"),
        ("level", cbor.Decimal(1, 1000), "bad_value"),
        ("level", cbor.Decimal(1, -1000), "bad_value"),
        ("level", False, "bad_value"),
        ("mode", "eco", "done"),
        ("mode", "turbo", "bad_value"),
        ("door", True, "unknown_actuator"),
    ]
    for counter, (actuator, value, outcome) in enumerate(wanted, 1):
        assert take(commander, counter, value, actuator=actuator) == outcome, (actuator, value)
        assert commander.results == [(counter, outcome)]
        commander.kept([], 0, commander.results)
    assert driver.values == [True, 10, cbor.Decimal(95, -1), "eco"]
    driver.broken = True
    assert take(commander, 99) == "failed"


def test_a_reset_between_taking_and_reporting(tmp_path: Path) -> None:
    driver = Driver()
    assert take(board(tmp_path, driver), 7) == "done"
    # Reset before the sample was stored: nobody knows, and it does not happen again.
    commander = board(tmp_path, driver)
    assert commander.highest == 7 and commander.results == [(7, "interrupted")]
    assert take(commander, 7) == "repeated" and driver.values == [True]
    # Reset after it was stored and before the journal heard of it: the envelope has said it.
    header = envelope.Header(KID, 3, None, envelope.Clock(0, 1, 0))
    newest = (3, envelope.protected_header(header, [(7, "done")]), b"")
    assert board(tmp_path, driver, newest).results == []
    commander.kept([], 0, commander.results)
    assert board(tmp_path, driver).results == []


def test_without_storage_nothing_is_done(tmp_path: Path) -> None:
    driver = Driver()
    commander = board(tmp_path, driver)
    (tmp_path / "commands.new").mkdir()
    assert take(commander, 1) == "storage_failed"
    assert driver.values == [] and commander.highest is None
    (tmp_path / "commands.new").rmdir()
    assert take(commander, 1) == "done"


def test_results_that_cannot_be_reported_hold_commands_back(tmp_path: Path) -> None:
    driver = Driver()
    commander = board(tmp_path, driver)
    assert [take(commander, counter) for counter in range(1, 6)] == ["done"] * 4 + ["busy"]
    commander.kept([], 0, commander.results)
    assert take(commander, 5) == "done" and len(driver.values) == 5


def test_a_damaged_journal_or_configuration_is_said(tmp_path: Path) -> None:
    for name in ("commands", "configuration"):
        (tmp_path / name).write_bytes(b"damaged")
        with pytest.raises(StorageError, match="damaged"):
            board(tmp_path, Driver())
        write_atomic(str(tmp_path / name), cbor.encode({1: 1}) if name == "commands" else b"\x05")
        with pytest.raises(StorageError, match="another version"):
            board(tmp_path, Driver())
        (tmp_path / name).unlink()


def test_configurations_replace_each_other(tmp_path: Path) -> None:
    commander = board(tmp_path, Driver())
    first = NONE._replace(version=2, interval_ms=50, name="Shed")
    assert take(commander, 1, None, actuator=None, configuration=first) == "done"
    assert commander.configuration == first
    assert take(commander, 2, None, actuator=None, configuration=first._replace(name="Attic")) == "old_version"
    assert board(tmp_path, Driver()).configuration == first


def exact(number: Any) -> Exact:
    return Exact(number.mantissa).scaleb(number.exponent) if isinstance(number, cbor.Decimal) else Exact(number)


SMALL = st.integers(-(10**6), 10**6)
NUMBERS = SMALL | st.builds(cbor.Decimal, SMALL, st.integers(-9, 3))


@given(NUMBERS, NUMBERS, NUMBERS)
def test_calibration_is_exact(value: Any, factor: Any, offset: Any) -> None:
    (record,) = calibrated([Record("a", "Cel", value, -5)], {"a": (factor, offset)})
    expected = exact(value) * exact(factor) + exact(offset)
    # What has more digits than 62 bits hold loses the last ones.
    assert abs(exact(record.value) - expected) <= max(Exact("0.000001"), abs(expected).scaleb(-17))
    assert (record.name, record.unit, record.time) == ("a", "Cel", -5)
    cbor.encode(record.value)


def test_calibration_leaves_the_rest_alone() -> None:
    records = [Record("a", None, True, 0), Record("b", None, 5, 0)]
    assert calibrated(records, {"a": (2, 0), "c": (1, 1)}) == records
    huge = [Record("a", None, (1 << 63) - 1, 0)]
    assert calibrated(huge, {"a": (cbor.Decimal(1, 9), 5)}) == huge


def test_what_is_worth_a_reading() -> None:
    sieve = Sieve()
    wanted = NONE._replace(thresholds={"t": cbor.Decimal(2, -1)}, longest_ms=1000)

    def worth(t: Any, on: bool, uptime: int) -> bool:
        records = [Record("t", "Cel", t, 0), Record("noise", None, uptime, 0), Record("on", None, on, 0)]
        kept = sieve.is_worth(records, wanted, 100, uptime)
        if kept:
            sieve.kept(records, uptime)
        return kept

    assert worth(20, False, 0)
    assert not worth(cbor.Decimal(2019, -2), False, 100)
    assert worth(cbor.Decimal(202, -1), False, 200)
    assert not worth(cbor.Decimal(2001, -2), False, 300)
    assert worth(cbor.Decimal(2001, -2), True, 400)
    assert not worth(cbor.Decimal(2001, -2), True, 1399)
    assert worth(cbor.Decimal(2001, -2), True, 1400)
    assert sieve.is_worth([Record("t", "Cel", 0, 0)], NONE, 100, 1401)


async def test_hostile_commands_to_a_real_node(tmp_path: Path) -> None:
    """Forged, replayed, for another, from the past, without a MAC: none of them moves anything."""
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway) as client:
        settings = node_settings(
            tmp_path,
            port=broker.port,
            pairing_code=CODE.hex(),
            sensor={"kind": "none"},
            actuators=[{"name": "on"}],
            interval_ms=60_000,
        )
        async with NodeProcess(tmp_path, settings) as node:
            kid = bytes.fromhex((await node.event("key"))["kid"])
            await node.event("acknowledged")
            topic = f"thingroom/1/{kid.hex()[0]}/{kid.hex()}/down"

            async def send(*commands: bytes) -> None:
                await client.publish(topic, gateway.answer(kid, commands=list(commands)), qos=1)

            good = gateway.command(kid, 5, True)
            await send(good)
            await node.event("command", outcome="done")
            for _ in range(20):
                await send(good)
            await send(gateway.command(kid, 4, False), gateway.command(kid, 6, False, key=SigningKey(bytes(32))))
            await send(gateway.command(bytes(8), 6, False), gateway.command(kid, 6, False, expires=1))
            tampered = bytearray(gateway.command(kid, 6, False))
            tampered[-1] ^= 1
            await send(bytes(tampered), b"", bytes(1024), b"\xd2" * 2000)
            await client.publish(topic, gateway.command(kid, 6, False), qos=1)
            await client.publish(topic, gateway.answer(kid, commands=[gateway.command(kid, 6, False)])[:-1], qos=1)
            # Still there, and the next good one is carried out.
            await send(gateway.command(kid, 6, True))
            await node.event("command", outcome="done", counter=6)
            await node.until(lambda: gateway.results() == [(5, "done"), (6, "done")])
            reasons = {event["reason"] for event in node.of("command") if "reason" in event}
            assert reasons >= {"repeated", "other_key", "other_device", "expired", "bad_signature", "truncated"}
            assert reasons >= {"too_large"} and len(node.of("dropped")) > 0
        assert node.stderr == b""
        stored = (tmp_path / "node" / "actuator_on").read_bytes()[:-4]
        assert cbor.decode(stored) == [True, 2]


def fuzz_rows() -> list[str]:
    generator = random.Random(20261122)
    rows = []
    for counter in range(1, 401):
        good = bytearray(made(counter, counter % 2 == 0, expires=NOW + (0 if counter % 50 else -1)))
        for _ in range(0 if counter % 10 == 0 else generator.randint(1, 3)):
            position = generator.randrange(len(good))
            if generator.random() < 0.3:
                del good[position : position + generator.randint(1, 9)]
            else:
                good[position] ^= generator.randint(1, 255)
        rows.append(bytes(good).hex())
    return rows


def test_damaged_commands_end_alike_on_both_interpreters(tmp_path: Path) -> None:
    """The board's side in 144 kB of heap with 64-bit words (a board has 32), compiled ahead as on a board."""
    given = {"device": KID.hex(), "key": GATEWAY.public.hex(), "now": NOW}
    path = tmp_path / "rows"
    path.write_text("\n".join([json.dumps(given), *fuzz_rows()]))
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    here = commands_fuzz.run(str(tmp_path / "here"), str(path))
    compile_package("thingroom_wire", tmp_path)
    compile_package("thingroom_node", tmp_path)
    out = run_file(ON_BOARD / "commands_fuzz.py", str(tmp_path / "there"), str(path), path=[tmp_path], heap="144k")
    assert json.loads(out) == here
    assert here["counts"]["done"] == 40 - 8 and here["counts"]["expired"] >= 8
    assert len(here["values"]) == 32 and sum(here["counts"].values()) == 400 and len(here["counts"]) > 10
