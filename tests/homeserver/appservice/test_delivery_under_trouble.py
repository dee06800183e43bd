"""Application services that are slow, wrong or hostile, and a homeserver that is killed while it delivers to them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.free_port import free_port
from tests.homeserver.app_service import AppServiceProcess, as_client, make_ghost, write_registration
from tests.homeserver.running import PASSWORD, MatrixClient, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.appservice_api import delivery

ROOT = Path(__file__).parents[3]


async def say(client: MatrixClient, room_id: str, text: str, body: str | None = None) -> None:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{escape(text)}"
    (await client.put(path, {"msgtype": "m.text", "body": body or text})).ok()


async def room_with(owner: MatrixClient, bridge: MatrixClient, name: str = "thing_a") -> str:
    ghost = await make_ghost(bridge, name)
    room_id = (await owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bridge.post(f"v3/join/{escape(room_id)}", {}, user_id=ghost)).ok()
    return room_id


async def test_a_slow_one_gets_everything_in_order_and_holds_up_nobody(tmp_path: Path) -> None:
    slow, quick = AppServiceProcess(slowness=0.3), AppServiceProcess()
    async with slow.up(), quick.up():
        second = {"id": "second", "as_token": "second token", "sender_localpart": "second"}
        files = (
            write_registration(tmp_path, slow.url),
            write_registration(tmp_path, quick.url, **second, namespaces={"users": [{"regex": "@quick_.*"}]}),
        )
        async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
            alice = await server.register("alice")
            room_id = await room_with(alice, as_client(server))
            ghost = await make_ghost(server.client("second token"), "quick_a")
            join = f"v3/join/{escape(room_id)}"
            (await server.client("second token").post(join, {}, user_id=ghost)).ok()
            texts = [f"{number:03}" for number in range(60)]
            for text in texts:
                await say(alice, room_id, text)
            await quick.until(lambda: quick.bodies() == texts)
            assert slow.bodies() != texts, "it should not have been quicker than it is"
            await slow.until(lambda: slow.bodies() == texts)
            assert len(slow.transactions) < len(texts) / 3, "what piled up comes in few transactions"


async def test_while_it_takes_nothing_nothing_piles_up_in_memory(tmp_path: Path) -> None:
    process = AppServiceProcess(status=500)
    async with process.up():
        files = (write_registration(tmp_path, process.url, receive_ephemeral=True),)
        async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
            alice = await server.register("alice")
            room_id = await room_with(alice, as_client(server))
            await process.until(lambda: len(process.requests) > 0)
            texts = [f"{number:03}" for number in range(80)]
            for text in texts:
                await say(alice, room_id, text, text + "x" * 40_000)
            await process.until(lambda: len(process.requests) > 1)
            assert {number for number, _ in process.requests} == {"1"}
            process.status = 200
            await process.until(lambda: len(process.bodies()) == len(texts))
            assert [body[:3] for body in process.bodies()] == texts
            largest = max(len(body) for _, body in process.requests)
            assert largest < delivery.BYTES_A_TRANSACTION + 70_000


Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def _garbage(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff nothing of HTTP\r\n\r\n")


async def _nothing(writer: asyncio.StreamWriter) -> None:
    pass


async def _elsewhere(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 307 Elsewhere\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")


async def _a_lie_about_length(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000\r\n\r\nshort")


async def _very_much(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 500 No\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(20_000):
        writer.write(b"x" * 50_000)
        await writer.drain()


async def _many_headers(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"X-Much: " + b"x" * 1_000_000 + b"\r\n\r\n")


@pytest.mark.parametrize(
    "answer", [_garbage, _nothing, _elsewhere, _a_lie_about_length, _very_much, _many_headers], ids=lambda f: f.__name__
)
async def test_whatever_it_answers_the_same_transaction_comes_until_it_is_taken(tmp_path: Path, answer: Answer) -> None:
    tries: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while head := await read_head(reader):
                body = await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]
                tries.append(head.split()[1] + b" " + body)
                if len(tries) > 2:
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    continue
                await answer(writer)
                await writer.drain()
                break
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        files = (write_registration(tmp_path, url),)
        async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
            alice = await server.register("alice")
            room_id = await room_with(alice, as_client(server))
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(tries) < 3:
                    await asyncio.sleep(0.02)
                await say(alice, room_id, "and on it goes")
                while not tries[-1].endswith(b"]}") or b"and on it goes" not in tries[-1]:
                    await asyncio.sleep(0.02)
    assert len(set(tries[:3])) == 1
    assert tries[3].startswith(b"/_matrix/app/v1/transactions/2 ")


async def read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


@contextlib.asynccontextmanager
async def homeserver_process(folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A homeserver of its own on that port; killed when the block ends."""
    path = os.pathsep.join(str(ROOT / root) for root in ("homeserver", "common"))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "thingroom_homeserver", "--config", str(folder / "thingroom.toml")),
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stderr is not None
    try:
        line = await process.stderr.readline()
        assert b"listening on" in line, line + await process.stderr.read()
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_homeserver_that_is_killed_again_and_again_loses_and_doubles_nothing(tmp_path: Path) -> None:
    process, port = AppServiceProcess(), free_port()
    (tmp_path / "data").mkdir()
    acknowledged: list[str] = []
    async with process.up(), aiohttp.ClientSession() as http:
        (tmp_path / "thingroom.toml").write_text(
            f'[homeserver]\ndata_directory = "data"\nlisteners = ["127.0.0.1:{port}"]\nregistration = "open"\n'
            f'rate_limits = false\nappservice_files = ["{write_registration(tmp_path, process.url)}"]\n'
            "password_cost = { memory_kib = 64, passes = 1 }\n"
        )
        alice = MatrixClient(http, f"http://127.0.0.1:{port}")
        bridge = MatrixClient(http, alice.base_url, "as token of the test")
        async with homeserver_process(tmp_path, port):
            body: dict[str, Any] = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            alice.token = (await alice.post("v3/register", body)).ok()["access_token"]
            room_id = await room_with(alice, bridge)
        for round_number in range(4):
            async with homeserver_process(tmp_path, port) as homeserver:
                process.slowness = 0.02 * round_number
                killing = asyncio.get_running_loop().call_later(0.25 + 0.1 * round_number, homeserver.kill)
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    for number in range(1000):
                        await say(alice, room_id, f"{round_number}.{number:03}")
                        acknowledged.append(f"{round_number}.{number:03}")
                killing.cancel()
                await homeserver.wait()
        process.slowness = 0.0
        async with homeserver_process(tmp_path, port):
            await say(alice, room_id, "the end")
            await process.until(lambda: process.bodies()[-1:] == ["the end"])
    # A message may be stored although its sender heard nothing; one that was acknowledged is there.
    told = process.bodies()
    assert {text[0] for text in acknowledged} == set("0123"), "each round got something through"
    assert told == sorted(told) and set(acknowledged) <= set(told)
    assert len(told) - len(acknowledged) <= 1 + 4
    event_ids = [event["event_id"] for event in process.events()]
    assert len(event_ids) == len(set(event_ids))
    numbers = sorted(map(int, process.transactions))
    assert numbers == list(range(1, len(numbers) + 1))
    bodies: dict[str, set[bytes]] = {}
    for number, sent in process.requests:
        bodies.setdefault(number, set()).add(sent)
    assert all(len(each) == 1 for each in bodies.values()), "a transaction that came again was another"
