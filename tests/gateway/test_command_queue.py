"""The queue of commands: kills, a database set back, late answers, plain devices, the command line."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
from click.testing import CliRunner, Result
from nacl.signing import VerifyKey
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto
from tests.gateway.command_support import ask, enrolled_board, movements, queue_of, told
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config, write_config
from tests.gateway.test_gateway_crash import process
from tests.node.node_process import NodeProcess
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_gateway import app, control
from thingroom_gateway.bot.commander import Queued
from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.commands.command import Command, Heard, Told, signed
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.config import CommandsConfig, GatewayConfig, PlainConfig
from thingroom_gateway.outcomes import Duplicate, Frame
from thingroom_gateway.storage import commands as rows
from thingroom_wire import command, cose, envelope
from thingroom_wire.hello import parse_hello
from thingroom_wire.senml import Record, encode_pack

Start = Callable[..., Mosquitto]


class Board:
    """A device made here: sees the commands that come down, and answers them when the test says so."""

    def __init__(self, client: aiomqtt.Client, thing: Thing) -> None:
        self._client, self.thing = client, thing
        self.commands: list[Any] = []

    async def listen(self) -> None:
        async for message in self._client.messages:
            assert isinstance(message.payload, bytes)
            self.commands += [command.parse_command(one) for one in self.thing.answer(message.payload).commands]

    async def report(self, counter: int, outcome: str, value: bool) -> None:
        """An envelope with a result."""
        thing = self.thing
        thing.sequence += 1
        header = envelope.Header(thing.kid, thing.sequence, None, envelope.Clock(2, 1, 5000))
        protected = envelope.protected_header(header, [(counter, outcome)])
        payload = encode_pack("urn:dev:mac:0302030405060708_", None, [Record("on", None, value, 0)])
        signature = thing.signing.sign(cose.sig_structure(protected, payload)).signature
        await self.publish("up", cose.encode_sign1(protected, payload, signature))

    async def publish(self, leaf: str, data: bytes) -> None:
        await self._client.publish(f"thingroom/1/{self.thing.hex[0]}/{self.thing.hex}/{leaf}", data, qos=1)


@contextlib.asynccontextmanager
async def board(mosquitto: Mosquitto, thing: Thing) -> AsyncIterator[Board]:
    async with aiomqtt.Client(
        "127.0.0.1", mosquitto.port, username=thing.hex, password=thing.password, identifier=thing.hex
    ) as client:
        await client.subscribe(f"thingroom/1/{thing.hex[0]}/{thing.hex}/down", qos=1)
        made = Board(client, thing)
        listening = asyncio.create_task(made.listen())
        try:
            yield made
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)


async def test_what_goes_down_and_what_comes_back(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    """One at a time, under the gateway's key, fresh by the last hello, again under the same counter."""
    mosquitto, thing = broker(), Thing(profile="switch", name="Lamp")
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config, thing) as running, board(mosquitto, thing) as node:
        device = running.core.registry.get(thing.kid)
        assert device is not None
        first, second = await ask(running, device, "on"), await ask(running, device, "off")
        await eventually(lambda: len(node.commands) == 1)
        one = node.commands[0]
        VerifyKey(running.core.keys.signing_public).verify(one.signed_bytes, one.signature)
        assert (one.key_id, one.command.device) == (running.core.keys.kid, thing.kid)
        assert (one.command.actuator, one.command.value, one.command.nonce) == ("on", True, None)
        await node.publish("hello", thing.hello(b"12345678"))
        await eventually(lambda: len(node.commands) == 2)
        again = node.commands[1].command
        assert (again.counter, again.nonce) == (one.command.counter, b"12345678")
        assert 590_000 < again.within <= 600_000
        # Somebody else's counter changes nothing; the right one brings the next command.
        await node.report(again.counter + 100, "done", True)
        await node.report(again.counter, "done", True)
        assert await told(running, first) == ("done", "")
        await eventually(lambda: len(node.commands) == 3)
        assert node.commands[2].command.value is False and node.commands[2].command.counter > again.counter
        await node.report(node.commands[2].command.counter, "bad_value", True)
        assert await told(running, second) == ("failed", "bad_value")
        await node.report(node.commands[2].command.counter, "done", True)
        await asyncio.sleep(0.2)
        assert await told(running, second) == ("failed", "bad_value")


async def test_a_late_answer_is_told_too(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto, thing = broker(), Thing(profile="switch", name="Lamp")
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config, thing) as running, board(mosquitto, thing) as node:
        heard: list[tuple[str, str]] = []
        queue = queue_of(running)
        queue.told.append(lambda _transaction, one: heard.append((one.outcome, one.reason)))
        device = running.core.registry.get(thing.kid)
        assert device is not None
        command_id = await ask(running, device, "on")
        await eventually(lambda: node.commands)
        waiting = queue.waiting(device)[0]
        await queue._settle([Told(waiting, "expired", "no_result")])
        assert queue.waiting(device) == []
        await node.report(waiting.counter, "done", True)
        await eventually(lambda: heard == [("expired", "no_result"), ("done", "")])
        for _ in tries():  # they hear of it before it is committed
            if await told(running, command_id) == ("done", ""):
                break
            await asyncio.sleep(0.01)
        assert await told(running, command_id) == ("done", "")


async def test_counters_go_on_when_the_database_was_set_back(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """A restored backup, and a hello that knows of a counter from the future: later commands are still taken."""
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)
    shutil.copytree(config.directory, tmp_path / "backup")
    async with NodeProcess(tmp_path, settings):
        async with gateway(config) as running:
            for value in ("on", "off", "on"):
                known = running.core.registry.get(device.row.kid)
                assert known is not None
                assert await told(running, await ask(running, known, value)) == ("done", "")
        shutil.rmtree(config.directory)
        shutil.copytree(tmp_path / "backup", config.directory)
        async with gateway(config) as running:
            known = running.core.registry.get(device.row.kid)
            assert known is not None
            assert await told(running, await ask(running, known, "off")) == ("done", "")
            assert movements(tmp_path) == (False, 4)

    thing = Thing(profile="switch", name="Other")
    async with gateway(config, thing) as running:
        known = running.core.registry.get(thing.kid)
        assert known is not None
        queue_of(running)._learn_counter(known, 2**45)
        await eventually(lambda: running.core.database.read(lambda c: rows.counter(c, known.row.id)) == 2**45)
        await ask(running, known, "on")
        assert queue_of(running).waiting(known)[0].counter == 2**45 + 1


async def test_the_gateway_is_killed_between_sending_and_hearing(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """SIGKILL at various moments after the command was asked for: it happens once, and the next start knows."""
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    file = write_config(tmp_path / "thingroom.toml", config)
    async with gateway(config) as running:
        _, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)
    async with NodeProcess(tmp_path, settings) as node:
        for number, pause in enumerate((0.0, 0.02, 0.05, 0.1, 0.3), 1):
            async with process(file, config) as started:
                await node.until(lambda count=number: len(node.of("clock")) >= 1)
                asked = {"command": "send_command", "device": "lamp", "actuator": "on", "seconds": 0}
                value = "on" if number % 2 else "off"
                answer = await asyncio.to_thread(control.ask, config.directory, {**asked, "value": value})
                assert answer["ok"], answer
                await asyncio.sleep(pause)
                started.kill()
                await started.wait()
            async with gateway(config) as running:
                assert await told(running, answer["id"]) == ("done", "")
            assert movements(tmp_path) == (number % 2 == 1, number)
    assert node.stderr == b""


def command_line(config: GatewayConfig, *arguments: str) -> Result:
    return CliRunner().invoke(
        gateway_commands, [*arguments, "--config", str(config.directory.parent / "thingroom.toml")]
    )


async def test_the_command_line_waits_for_the_device(tmp_path: Path, broker: Start, homeserver: FakeHomeserver) -> None:
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    write_config(tmp_path / "thingroom.toml", config)
    none = await asyncio.to_thread(command_line, config, "command", "lamp", "on", "on")
    assert none.exit_code == 1 and "No gateway runs" in none.output
    async with gateway(config) as running:
        _, settings = await enrolled_board(running, tmp_path, port=mosquitto.port)

        async def run(*arguments: str) -> tuple[int, str]:
            result = await asyncio.to_thread(command_line, config, *arguments)
            return result.exit_code, result.output.strip()

        code, said = await run("command", "--wait", "0", "lamp", "on", "on")
        assert code == 0 and said.startswith("Lamp has not answered yet. The command waits for it until 20")
        async with NodeProcess(tmp_path, settings):
            assert await run("command", "LAMP", "Switch", "off") == (0, "Lamp: Switch is off.")
            code, said = await run("configure", "lamp", "--interval", "0.1", "--calibrate", "on", "2", "0")
            assert (code, said) == (0, "Lamp: the new configuration is in use.")
        assert movements(tmp_path) == (False, 2)
        assert await run("command", "lamp", "on", "7") == (1, "Error: Switch of Lamp takes on or off.")
        assert (await run("command", "attic", "on", "on"))[1].startswith("Error: there is no device attic")
        assert (await run("configure", "lamp", "--threshold", "heat", "1"))[1] == "Error: Lamp has no quantity heat."
        assert (await run("configure", "lamp", "--threshold", "on", "much"))[0] == 1


async def test_too_many_and_revoked(tmp_path: Path, config: GatewayConfig) -> None:
    thing = Thing(profile="switch", name="Lamp")
    async with gateway(config, thing) as running:
        device = running.core.registry.get(thing.kid)
        assert device is not None
        queue = queue_of(running)
        queued = [await queue.request(device, "on", "on", "", None) for _ in range(33)]
        assert all(isinstance(one, Queued) for one in queued[:32])
        assert "32 commands waiting" in queued[32].reason  # type: ignore[union-attr]
        await running.core.enrolment.revoke(thing.kid)
        assert await told(running, queued[0].id) == ("failed", "revoked")  # type: ignore[union-attr]
        device = running.core.registry.get(thing.kid)
        assert device is not None
        refused = await queue.request(device, "on", "on", "", None)
        assert refused.reason == "Lamp is revoked."  # type: ignore[union-attr]


async def test_a_plain_device_obeys_and_its_state_tells(
    tmp_path: Path, broker: Start, homeserver: FakeHomeserver
) -> None:
    """A Tasmota socket: what is published, and done only when it told its state; without it, failed."""
    mosquitto = broker()
    config = make_config(tmp_path, homeserver.url, mosquitto)
    config = msgspec.structs.replace(config, plain=(PlainConfig(dialect="tasmota"),))
    async with (
        gateway(config) as running,
        aiomqtt.Client("127.0.0.1", mosquitto.port, username="gateway", password=GATEWAY_PASSWORD) as client,
    ):
        assert running.plain is not None and running.plain_link is not None
        await asyncio.wait_for(running.plain_link.connected.wait(), PATIENCE_SECONDS)
        await client.publish("stat/plug/POWER", "OFF", qos=1)
        await eventually(lambda: running.plain.list_seen())  # type: ignore[union-attr]
        adopted = await running.plain.adopt(running.plain.list_seen()[0]["topic"], "Plug", "Hall", "switch")
        device = getattr(adopted, "device", None)
        assert device is not None, adopted
        await client.subscribe("cmnd/#", qos=1)
        command_id = await ask(running, device, "on")
        message = await asyncio.wait_for(anext(aiter(client.messages)), PATIENCE_SECONDS)
        assert (str(message.topic), message.payload) == ("cmnd/plug/POWER", b"ON")
        assert [one.id for one in queue_of(running).waiting(device)] == [command_id]
        await client.publish("stat/plug/POWER", "ON", qos=1)
        assert await told(running, command_id) == ("done", "")


async def test_what_is_not_heard_is_sent_less_and_less(tmp_path: Path) -> None:
    """By a clock of our own: again after 5, 10, 20 and 40 seconds, then only after the device's next word."""
    now = [1_700_000_000_000]
    sent: list[int] = []
    async with app.opened_core(GatewayConfig(data_directory=str(tmp_path))) as core:
        queue = CommandQueue(core.database, core.registry, core.keys, core.counters, CommandsConfig(), lambda: now[0])
        queue.pushers["mqtt"] = lambda _kid, _data: sent.append(now[0] - 1_700_000_000_000) or True
        device = (await core.enrolment.enrol(Thing(profile="switch").candidate)).device  # type: ignore[union-attr]
        device.presence.status = "offline"
        await queue.request(device, "on", "on", "", None)
        assert sent == []
        device.presence.status = "online"

        def pass_seconds(seconds: int) -> None:
            for _ in range(seconds):
                queue._push(device)
                now[0] += 1000

        pass_seconds(200)
        assert sent == [0, 5_000, 15_000, 35_000, 75_000]
        queue.settled([(Frame("up", b"", "mqtt"), Duplicate(device.row.kid, 1))])
        assert sent[5:] == [200_000]
        pass_seconds(100)
        assert len(sent) == 6
        # A hello brings a new nonce: the command goes into its answer, whatever was sent before.
        hello = parse_hello(Thing(profile="switch").hello(b"12345678")).hello
        assert len(queue.greeting(device, hello)) == 1
        now[0] += 400_000
        assert queue.greeting(device, hello) == [] and len(queue.waiting(device)) == 1


def test_values_travel_exactly() -> None:
    """From the text that is stored to what a device parses."""
    keys = Thing(5)
    for stored, value in (
        ("true", True),
        ("false", False),
        ("50", 50),
        ("21.50", (215, -1)),
        ("-0.05", (-5, -2)),
        ("0.0", 0),
        ("100", 100),
        (json.dumps("Öko 1"), "Öko 1"),
        (json.dumps("true"), "true"),
        (json.dumps("5"), "5"),
    ):
        one = Command(1, 1, 9, "a", stored, "", "", "", 1000, 9000)
        parsed = command.parse_command(signed(one, bytes(8), Heard(b"n" * 8, 2000), keys.signing, keys.kid)).command
        found = parsed.value
        assert (tuple(found) if isinstance(found, tuple) else found) == value and type(found) is not float
        assert isinstance(found, bool) == isinstance(value, bool)
        assert (parsed.expires, parsed.within) == (9000, 7000)


def test_old_commands_are_forgotten(tmp_path: Path) -> None:
    async def fill() -> int:
        async with app.opened_core(GatewayConfig(data_directory=str(tmp_path))) as core:
            thing = Thing(profile="switch")
            device = (await core.enrolment.enrol(thing.candidate)).device  # type: ignore[union-attr]

            def write(transaction: Any) -> None:
                for number in range(1, 1101):
                    stored = rows.insert(transaction, Command(0, device.row.id, number, "on", "true", "", "", "", 1, 2))
                    rows.settle(transaction, Told(stored, "done"), 3)

            await core.database.write(write)
        with contextlib.closing(sqlite3.connect(tmp_path / "gateway.sqlite")) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM commands").fetchone()[0])

    assert asyncio.run(fill()) == 1000
