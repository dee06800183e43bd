"""Shards taken over by hand: one Mosquitto, two gateways, and nothing is lost, accepted twice or used again."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from tests.gateway.brokers import Mosquitto
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, write_config
from tests.gateway.test_gateway_ingest import Door
from tests.gateway.test_gateway_mqtt import board

from thingroom_gateway.app import Gateway
from thingroom_gateway.bot.commander import Queued
from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.control import Commands, ExportDevices, ImportDevices
from thingroom_gateway.handover import parse_shards
from thingroom_gateway.outcomes import Accepted, Duplicate, Rejected
from thingroom_gateway.storage.missing import gaps_of
from thingroom_wire.command import parse_command
from thingroom_wire.ed25519 import verify

SECONDS = 60
LOW, HIGH = "01234567", "89abcdef"


def thing_of(shards: str, number: int, profile: str = "switch") -> Thing:
    """A device whose key id begins with one of `shards`."""
    seed = 1000 * number
    while Thing(seed).hex[0] not in shards:
        seed += 1
    return Thing(seed, name=f"Thing {number}", profile=profile)


def half(directory: Path, homeserver: FakeHomeserver, broker: Mosquitto, shards: str) -> GatewayConfig:
    """A gateway's configuration; both log in to a broker that is not theirs."""
    directory.mkdir(exist_ok=True)
    config = make_config(directory, homeserver.url, broker, password_file="", acl_file="", pid_file="", shards=shards)
    return msgspec.structs.replace(config, coap=msgspec.structs.replace(config.coap, enabled=False))


def control(running: Gateway) -> Commands:
    core = running.core
    return Commands(
        core.database, core.registry, core.enrolment, core.pairing, core.counters, core.keys, lambda: None, lambda: None
    )


async def hand_over(running: Gateway, shards: str, file: Path) -> dict[str, Any]:
    return await control(running).run(ExportDevices(shards=shards, file=str(file)))


async def take_over(running: Gateway, file: Path) -> dict[str, Any]:
    return await control(running).run(ImportDevices(file=str(file)))


def lamp(thing: Thing, sequence: int) -> bytes:
    """A reading of a switch."""
    from thingroom_wire.keys import base_name, eui64_from_key_id
    from thingroom_wire.senml import Record, encode_pack

    pack = encode_pack(base_name(eui64_from_key_id(thing.kid)), None, [Record("on", None, True, 0)])
    return thing.envelope(sequence, pack, clock=(2, 1, sequence * 1000))


def counted(running: Gateway, name: str) -> int:
    return running.core.counters[name]


async def test_a_stopped_gateways_shards_are_taken_over(
    tmp_path: Path, broker: Callable[..., Mosquitto], homeserver: FakeHomeserver
) -> None:
    mosquitto = broker(open_to_all=True)
    one, two = thing_of(LOW, 1), thing_of(HIGH, 2)
    first = half(tmp_path / "first", homeserver, mosquitto, LOW)
    second = half(tmp_path / "second", homeserver, mosquitto, HIGH)
    file = tmp_path / "devices.json"
    async with gateway(first, one) as left, board(mosquitto, one, "x", "x") as lost_one:
        async with gateway(second, two) as right, board(mosquitto, two, "x", "x") as kept:
            for sequence in (1, 2, 5):
                await lost_one.send(lamp(one, sequence))
                await kept.send(lamp(two, sequence))
            await eventually(lambda: lost_one.acknowledged() == kept.acknowledged() == {1, 2, 5}, SECONDS)
            await eventually(lambda: sorted(homeserver.sequences(one.hex)) == [1, 2, 5], SECONDS)
            # Each took its own, and only its own.
            assert counted(left, "mqtt.accepted") == counted(right, "mqtt.accepted") == 3
        command = left.core.registry.by_kid(one.kid)
        assert left.commands is not None
        queued = await left.commands.request(command, "on", "off", "", None)
        assert isinstance(queued, Queued)
        (before,) = left.commands.waiting(command)
        answer = await hand_over(left, "0-7", file)
        assert answer["ok"] and answer["devices"] == 1
        # From here on it takes nothing from the device, which keeps what it says.
        await lost_one.send(lamp(one, 6))
        await eventually(lambda: counted(left, "mqtt.rejected.other_gateway") == 1, SECONDS)
        pinned = left.core.keys.signing_public
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    both = half(tmp_path / "second", homeserver, mosquitto, LOW + HIGH)
    async with gateway(both) as right:
        assert (await take_over(right, file))["ok"]
        assert right.core.keys.signing_public != pinned
        device = right.core.registry.by_kid(one.kid)
        async with board(mosquitto, one, "x", "x") as node:
            # The node sends what was not acknowledged, and something that was.
            for sequence in (2, 6, 4, 7):
                await node.send(lamp(one, sequence))
            await eventually(lambda: node.acknowledged() == {2, 4, 6, 7}, SECONDS)
            assert counted(right, "mqtt.duplicate") == 1
            await eventually(lambda: sorted(homeserver.sequences(one.hex)) == [1, 2, 4, 5, 6, 7], SECONDS)
            found = right.core.database.read(lambda connection: gaps_of(connection, device.row.id))
            assert [(gap.first, gap.last) for gap in found] == [(3, 3)]
            # A command goes out under the key that the node has pinned, with a counter that was never used.
            assert right.commands is not None
            await right.commands.request(device, "on", "on", "", None)
            sent = await commands_of(node.down, one)
        assert sent[0].command.counter > before.counter
        assert verify(pinned, sent[0].signed_bytes, sent[0].signature)
    # The old one does not go on by mistake, and cannot give away what it has not.
    async with gateway(first) as left:
        assert await Door(left).send(lamp(one, 8)) == Rejected("other_gateway")
        again = await hand_over(left, "0-f", tmp_path / "other.json")
        assert not again["ok"] and "no device" in again["error"]
        refused = await left.core.enrolment.enrol(one.candidate)
        assert getattr(refused, "reason", "") == "handed_over"


async def commands_of(down: list[bytes], thing: Thing) -> list[Any]:
    found: list[Any] = []

    def any_of_them() -> bool:
        found[:] = [parse_command(data) for answer in down for data in thing.answer(answer).commands]
        return bool(found)

    await eventually(any_of_them, SECONDS)
    return found


async def test_there_and_back_again(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    """Each time the ledger goes along: what either accepted is a repeat to the other."""
    thing = Thing()
    files = [tmp_path / "there.json", tmp_path / "back.json"]
    configs = []
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        configs.append(make_config(tmp_path / name, homeserver.url))
    async with gateway(configs[0], thing) as here, gateway(configs[1]) as there:
        assert await Door(here).send(thing.envelope(1)) == Accepted(thing.kid, 1)
        assert (await hand_over(here, thing.hex[0], files[0]))["ok"]
        assert (await take_over(there, files[0]))["ok"]
        refused = await take_over(there, files[0])
        assert "is here already" in refused["error"]
        assert await Door(there).send(thing.envelope(1)) == Duplicate(thing.kid, 1)
        assert await Door(there).send(thing.envelope(2)) == Accepted(thing.kid, 2)
        assert (await hand_over(there, "0-f", files[1]))["ok"]
        assert await Door(there).send(thing.envelope(3)) == Rejected("other_gateway")
        assert (await take_over(here, files[1]))["ok"]
        assert await Door(here).send(thing.envelope(2)) == Duplicate(thing.kid, 2)
        assert await Door(here).send(thing.envelope(3)) == Accepted(thing.kid, 3)
        # Its own device again, under its own key.
        assert here.core.registry.by_kid(thing.kid).row.signer == b""


async def test_what_is_wrong_changes_nothing(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    things = [Thing(1, "One"), Thing(2, "Two")]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    file = tmp_path / "file.json"
    async with (
        gateway(make_config(tmp_path / "a", homeserver.url), *things) as left,
        gateway(make_config(tmp_path / "b", homeserver.url), things[1]) as right,
    ):
        file.write_text("here is something")
        answer = await hand_over(left, "0-f", file)
        assert "exists already" in answer["error"] and file.read_text() == "here is something"
        assert "not what" in (await take_over(right, file))["error"]
        file.unlink()
        assert "names no shards" in (await hand_over(left, "x-z", file))["error"]
        unwritable = await hand_over(left, "0-f", tmp_path / "nowhere" / "file.json")
        assert "could not be done" in unwritable["error"]
        assert await Door(left).send(things[0].envelope()) == Accepted(things[0].kid, 1)
        assert (await hand_over(left, "0-f", file))["ok"]
        # One of the two is here: neither is taken.
        assert "Two" in (await take_over(right, file))["error"]
        assert right.core.registry.get(things[0].kid) is None
        made = json.loads(file.read_text())
        made["devices"][0]["device_key"] = made["devices"][1]["device_key"]
        file.write_text(json.dumps(made))
        assert "damaged" in (await take_over(right, file))["error"]
        # The file is lost: it can be written once more, from what has stood still since.
        once_more = await control(left).run(ExportDevices(shards="0-f", file=str(tmp_path / "again"), again=True))
        assert once_more["ok"] and once_more["devices"] == 2


async def test_on_the_command_line(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    configs = [make_config(tmp_path / name, homeserver.url) for name in ("a", "b")]
    left, right = (write_config(tmp_path / f"{number}.toml", config) for number, config in enumerate(configs))
    async with gateway(configs[0], thing) as running:
        await Door(running).send(thing.envelope(1))
        await Door(running).send(thing.envelope(4))
    async with gateway(configs[1]):
        pass
    file = tmp_path / "devices.json"

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(gateway_commands, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def all_of_it() -> list[str]:
        return [
            run("gaps", "--config", str(left), "Kitchen"),
            run("devices", "export", "--config", str(left), "--shards", "0-f", str(file)),
            run("devices", "import", "--config", str(right), str(file)),
            run("devices", "--config", str(left)),
            run("devices", "--config", str(right)),
        ]

    gaps, exported, imported, old, new = await asyncio.to_thread(all_of_it)
    assert "2 not accounted for" in gaps and "2-3" in gaps
    assert "1 devices are in" in exported and "1 devices are taken over" in imported
    assert "handed over" in old and "active" in new and "received 2" in new


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("0-7", set(range(8))),
        ("0,3,a-F", {0, 3, 10, 11, 12, 13, 14, 15}),
        ("89", {8, 9}),
        ("", None),
        ("7-0", None),
        ("0-", None),
        ("g", None),
        ("00-7", None),
    ],
)
def test_shards_as_people_write_them(text: str, found: set[int] | None) -> None:
    assert parse_shards(text) == (None if found is None else frozenset(found))
