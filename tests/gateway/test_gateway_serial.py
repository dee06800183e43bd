"""The serial link over pseudo-terminals and a TCP socket: readings, hot plug, garbage, boards that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, stuck_disk
from tests.gateway.serial_cable import Cable, SerialBoard
from tests.node.node_process import NodeProcess, node_settings
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.app import Gateway
from thingroom_gateway.config import GatewayConfig, SerialConfig
from thingroom_gateway.links.serial_console import Consoles
from thingroom_gateway.links.serial_line import WINDOW
from thingroom_wire import frames
from thingroom_wire.downlink import parse_answer
from thingroom_wire.keys import pairing_keys

BOOT = b"ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13\r\nload:0x3fff0030,len:4832\r\n"


def with_ports(config: GatewayConfig, *ports: str) -> GatewayConfig:
    return msgspec.structs.replace(config, serial=SerialConfig(ports=ports))


@pytest.fixture
def port(tmp_path: Path) -> Path:
    return tmp_path / "ttyBoard0"


@pytest.fixture
def serial_config(config: GatewayConfig, tmp_path: Path) -> GatewayConfig:
    return with_ports(config, str(tmp_path / "ttyBoard*"))


def acknowledged(thing: Thing, down: list[bytes]) -> set[int]:
    spans = [span for data in down for span in thing.answer(data).acknowledged]
    return {number for first, last in spans for number in range(first, last + 1)}


def counted(running: Gateway, name: str) -> int:
    return running.core.counters[name]


async def is_open(running: Gateway, number: int = 1) -> None:
    assert running.serial is not None
    await eventually(lambda: len(running.serial.open_ports) == number)  # type: ignore[union-attr]


async def test_readings_hellos_and_their_answers(
    serial_config: GatewayConfig, port: Path, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    async with gateway(serial_config, thing) as running:
        with SerialBoard(port) as board:
            await is_open(running)
            probe = board.send(b"", frames.PROBE)
            await eventually(lambda: board.acknowledged == [probe])
            hello = board.send(thing.hello(b"01234567"), frames.HELLO)
            await eventually(lambda: board.down)
            answer = thing.answer(board.down[0])
            assert answer.nonce == b"01234567" and answer.time is not None
            marks = [board.send(thing.envelope()) for _ in range(WINDOW)]
            await eventually(lambda: acknowledged(thing, board.down) == set(range(1, WINDOW + 1)))
            assert board.acknowledged == [probe, hello, *marks]
            board.send(thing.envelope(3))
            await eventually(lambda: counted(running, "serial.duplicate") == 1)
            board.send(thing.envelope(payload=thing.pack(5000)))
            await eventually(lambda: any(thing.answer(data).refused for data in board.down))
            assert counted(running, "serial.accepted") == WINDOW
            await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, WINDOW + 1)))


async def test_pairing(serial_config: GatewayConfig, port: Path) -> None:
    thing = Thing(5, name="Porch")
    async with gateway(serial_config) as running:
        window = running.core.pairing.open(1)
        keys = pairing_keys(bytes.fromhex(window.code.replace(" ", "")))
        with SerialBoard(port) as board:
            await is_open(running)
            board.send(thing.pairing_hello(window.code), frames.HELLO)
            await eventually(lambda: board.down)
            answer = parse_answer(board.down[0], keys.gateway)
            thing.learn(answer.gateway_key, answer.agreement_key)
            board.send(thing.envelope())
            await eventually(lambda: acknowledged(thing, board.down[1:]) == {1})


async def test_ports_come_and_go(serial_config: GatewayConfig, port: Path) -> None:
    """A board that is there at the start, one that comes later, one that leaves and comes back."""
    one, two = Thing(1), Thing(2, name="Cellar")
    with SerialBoard(port) as first:
        async with gateway(serial_config, one, two) as running:
            await is_open(running)
            second = SerialBoard(port.with_name("ttyBoard1"))
            for round_ in range(1, 3):
                with second:
                    await is_open(running, 2)
                    second.send(two.envelope())
                    await eventually(lambda round_=round_: round_ in acknowledged(two, second.down))  # type: ignore[misc]
                await is_open(running, 1)
                first.send(one.envelope())
                await eventually(lambda round_=round_: round_ in acknowledged(one, first.down))  # type: ignore[misc]
            assert counted(running, "serial.opened") == 3


async def test_two_names_of_one_port_are_one(config: GatewayConfig, port: Path) -> None:
    with SerialBoard(port) as board:
        port.with_name("other-name").symlink_to(port.readlink())
        async with gateway(with_ports(config, str(port), str(port.with_name("other*"))), Thing()) as running:
            await is_open(running)
            await asyncio.sleep(1.3)
            await is_open(running)
            assert board.plug.path.exists() and counted(running, "serial.opened") == 1


async def test_boot_messages_and_garbage_are_survived_and_kept(
    serial_config: GatewayConfig, port: Path, tmp_path: Path
) -> None:
    thing = Thing()
    async with gateway(serial_config, thing) as running:
        with SerialBoard(port) as board:
            await is_open(running)
            good = frames.encode_frame(frames.UP, thing.envelope())[0]
            board.plug.write(BOOT + good)
            await eventually(lambda: acknowledged(thing, board.down) == {1})
            damaged = frames.DELIMITER + frames.stuff(b"\1" + thing.envelope(2) + bytes(4)) + frames.DELIMITER
            board.plug.write(damaged + os.urandom(5000) + b"Traceback (most recent call last):\r\n" + b"\0\0\0")
            board.plug.write(b"x" * 50_000 + frames.encode_frame(99, b"?")[0])
            board.plug.write(frames.encode_frame(frames.UP, thing.envelope(3))[0] + b"\x1b[31mNo newline, no zero")
            await eventually(lambda: acknowledged(thing, board.down) == {1, 3})
            await eventually(lambda: counted(running, "serial.rejected.unknown_kind") == 1)
            assert counted(running, "serial.rejected.bad_checksum") >= 1
            assert counted(running, "serial.text_bytes") > 50_000
            files = tmp_path / "gateway" / "serial"
            await eventually(lambda: "no zero" in "".join(one.read_text() for one in files.glob("*.log*")))
            text = "".join(one.read_text() for one in files.glob("*.log*"))
            assert "rst:0x1 (POWERON_RESET)" in text and "Traceback (most" in text
            assert "\\x1b[31m" in text and "\x1b" not in text


def test_what_boards_print_is_bounded(tmp_path: Path) -> None:
    consoles = Consoles(tmp_path, 10_000)
    for number in range(1000):
        consoles.add("/dev/ttyUSB0", f"line {number} of many\n".encode())
    consoles.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"dev_ttyUSB0.log", "dev_ttyUSB0.log.1"} and sum(sizes.values()) <= 10_100
    assert (tmp_path / "dev_ttyUSB0.log").read_text().endswith("line 999 of many\n")


async def test_nothing_is_acknowledged_before_it_is_on_disk(serial_config: GatewayConfig, port: Path) -> None:
    """And a board that goes on meanwhile is held to its window; what it repeats is not taken twice."""
    thing = Thing()
    async with gateway(serial_config, thing) as running:
        with SerialBoard(port) as board:
            await is_open(running)
            with stuck_disk(running, serial_config):
                envelopes = [thing.envelope() for _ in range(WINDOW + 5)]
                for envelope in envelopes:
                    board.send(envelope)
                board.send(envelopes[0])
                await eventually(lambda: counted(running, "storage.failed") > 0)
                await eventually(lambda: counted(running, "serial.busy") == 5)
                await eventually(lambda: counted(running, "serial.repeated") == 1)
                assert board.acknowledged == [] and board.down == []
            await eventually(lambda: acknowledged(thing, board.down) == set(range(1, WINDOW + 1)))
            for envelope in envelopes[WINDOW:]:
                board.send(envelope)
            await eventually(lambda: acknowledged(thing, board.down) == set(range(1, WINDOW + 6)))


async def test_an_answer_is_repeated_until_it_is_heard(serial_config: GatewayConfig, port: Path) -> None:
    thing = Thing()
    async with gateway(serial_config, thing) as running:
        with SerialBoard(port) as board:
            await is_open(running)
            board.polite = False
            board.send(thing.hello(), frames.HELLO)
            await eventually(lambda: len(board.down) == 2)
            assert board.down[0] == board.down[1]
            board.polite = True
            await eventually(lambda: len(board.down) == 3)
            assert running.serial is not None and running.serial.send(thing.kid, b"to the device")
            assert not running.serial.send(bytes(8), b"to nobody")
            await eventually(lambda: board.down[-1] == b"to the device")
            assert counted(running, "serial.unheard") == 0


async def test_a_board_that_reads_nothing_delays_nobody(serial_config: GatewayConfig, port: Path) -> None:
    thing, other = Thing(1), Thing(2, name="Cellar")
    async with gateway(serial_config, thing, other) as running:
        with SerialBoard(port) as deaf, SerialBoard(port.with_name("ttyBoard1")) as board:
            await is_open(running, 2)
            asyncio.get_running_loop().remove_reader(deaf.plug._master)
            for _ in range(20_000):
                deaf.plug.write(frames.encode_frame(frames.PROBE, b"")[0])
            for sent in range(1, 31):
                board.send(other.envelope())
                await eventually(lambda sent=sent: acknowledged(other, board.down) == set(range(1, sent + 1)))  # type: ignore[misc]
            await eventually(lambda: counted(running, "serial.unread") > 0)
            assert len(running.serial.open_ports) == 2  # type: ignore[union-attr]


async def test_a_port_behind_a_socket(config: GatewayConfig) -> None:
    """socket://: a terminal server, or a board's Wi-Fi bridge; it goes away and comes back."""
    thing = Thing()
    heard: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await heard.put((reader, writer))

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    number = server.sockets[0].getsockname()[1]
    async with server, gateway(with_ports(config, f"socket://127.0.0.1:{number}"), thing):
        for sequence in (1, 2):
            reader, writer = await asyncio.wait_for(heard.get(), PATIENCE_SECONDS)
            data, mark = frames.encode_frame(frames.UP, thing.envelope())
            parser: Any = frames.FrameReader()
            found: list[Any] = []
            # What comes before the port is open on the other side is dropped there.
            while len(found) < 2:
                writer.write(data)
                with contextlib.suppress(TimeoutError):
                    found += parser.feed(await asyncio.wait_for(reader.read(4096), 0.3))
            assert (found[0].kind, found[0].payload) == (frames.ACKNOWLEDGED, mark)
            assert acknowledged(thing, [found[1].payload]) == {sequence}
            writer.close()


async def test_a_port_that_cannot_be_opened(
    config: GatewayConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "ttyBoardX").write_text("a file, no terminal")
    async with gateway(with_ports(config, str(tmp_path / "ttyBoardX"), "loop://", "nonsense://x"), Thing()):
        await eventually(lambda: caplog.text.count("next try") >= 3)
        assert "Inappropriate ioctl" in caplog.text
        assert "loop:// is not a kind of port" in caplog.text
        assert "nonsense" in caplog.text


# --- the real firmware ---------------------------------------------------------------------------------------------


def told(node: NodeProcess) -> set[int]:
    spans = [span for event in node.of("acknowledged") for span in event["ranges"]]
    return {number for first, last in spans for number in range(first, last + 1)}


async def test_a_node_on_a_cable(
    serial_config: GatewayConfig, port: Path, tmp_path: Path, homeserver: FakeHomeserver
) -> None:
    """Pairing, readings, noise on the line, unplugged for a while: everything arrives, once."""
    async with gateway(serial_config) as running:
        code = running.core.pairing.open(1).code
        settings = node_settings(tmp_path, link="serial", host=str(tmp_path / "node-tty"), pairing_code=code)
        with Cable(tmp_path / "node-tty", port) as cable:
            async with NodeProcess(tmp_path, settings) as node:
                await node.event("enrolled")
                await node.event("clock", state="synchronised")
                await node.until(lambda: len(told(node)) >= 10)
                pieces = 0

                def disturb(data: bytes) -> bytes:
                    nonlocal pieces
                    pieces += 1
                    if pieces % 70 == 0:
                        return data[: len(data) // 2] + os.urandom(40) + data[len(data) // 2 :]
                    return BOOT + data if pieces % 37 == 0 else data

                cable.disturb = disturb
                before = len(told(node))
                await node.until(lambda: len(told(node)) >= before + 10)
                cable.disturb = lambda data: data
                cable.gateway.unplug()
                kept = len(node.sampled())
                await node.until(lambda: len(node.sampled()) >= kept + 20)
                assert len(told(node)) < len(node.sampled()) - 15
                cable.gateway.plug_in()
                wanted = set(node.sampled())
                await node.until(lambda: wanted <= told(node))
                assert not node.stderr
        device = next(iter(running.core.registry))
        await eventually(lambda: wanted <= set(homeserver.sequences(device.kid_hex)))
        arrived = homeserver.sequences(device.kid_hex)
        assert len(arrived) == len(set(arrived))


async def test_a_node_whose_own_end_is_unplugged(serial_config: GatewayConfig, port: Path, tmp_path: Path) -> None:
    async with gateway(serial_config) as running:
        code = running.core.pairing.open(1).code
        settings = node_settings(tmp_path, link="serial", host=str(tmp_path / "node-tty"), pairing_code=code)
        with Cable(tmp_path / "node-tty", port) as cable:
            async with NodeProcess(tmp_path, settings) as node:
                await node.until(lambda: len(told(node)) >= 3)
                cable.node.unplug()
                await node.event("link", state="down")
                before = len(node.sampled())
                await node.until(lambda: len(node.sampled()) >= before + 5)
                cable.node.plug_in()
                wanted = set(node.sampled())
                await node.until(lambda: wanted <= told(node))
