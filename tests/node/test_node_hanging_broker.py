"""Brokers that hang, each in another place: the node's client gives every one of them up. On MicroPython."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import trustme
from tests.micropython_runner import command
from tests.node.fake_broker import Connection, FakeBroker, Script

HANG = Path(__file__).parent / "on_board" / "mqtt_hang.py"


async def never_answers(connection: Connection) -> None:
    await connection.closed()


async def half_a_connack(connection: Connection) -> None:
    await connection.packet()
    await connection.write(b"\x20\x02\x00")
    await connection.closed()


async def no_suback(connection: Connection) -> None:
    await connection.packet()
    await connection.write(b"\x20\x02\x00\x00")
    await connection.closed()


async def no_puback(connection: Connection) -> None:
    await connection.accept()
    while True:
        if (await connection.packet())[0] == 0xC0:
            await connection.write(b"\xd0\x00")


async def no_pingresp(connection: Connection) -> None:
    await connection.accept()
    _, body = await connection.packet()
    topic_end = 2 + int.from_bytes(body[:2], "big")
    await connection.write(b"\x40\x02" + body[topic_end : topic_end + 2])
    await connection.closed()


async def stops_reading(connection: Connection) -> None:
    await connection.accept()
    await asyncio.Event().wait()


HANGS = [
    (never_answers, "nothing", False, "connect_timeout"),
    (never_answers, "nothing", True, "connect_timeout"),
    (half_a_connack, "nothing", False, "connect_timeout"),
    (no_suback, "nothing", False, "connect_timeout"),
    (no_puback, "little", False, "puback_timeout"),
    (no_pingresp, "nothing", False, "ping_timeout"),
    (stops_reading, "much", False, "write_timeout"),
]


@pytest.mark.parametrize(("script", "what", "tls", "reason"), HANGS)
async def test_a_broker_that_hangs_is_given_up(
    tmp_path: Path, script: Script, what: str, tls: bool, reason: str
) -> None:
    ca = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(str(ca))
    ended = asyncio.Event()

    async def hang(connection: Connection) -> None:
        acting = asyncio.create_task(script(connection))
        await ended.wait()
        acting.cancel()
        with contextlib.suppress(asyncio.CancelledError, ConnectionError, asyncio.IncompleteReadError):
            await acting

    async with FakeBroker(hang) as broker:
        argv, environment = command(HANG, str(broker.port), what, str(ca) if tls else "", heap="64M")
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.PIPE)
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            ended.set()
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        assert output.decode().strip() == reason
