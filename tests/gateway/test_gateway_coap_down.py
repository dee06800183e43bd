"""The way down over CoAP: commands reach a node that observes, at once; nobody else observes in its name."""

from __future__ import annotations

import asyncio
import contextlib
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiocoap
import pytest
from aiocoap import Code, Message
from aiocoap.optiontypes import BlockOption
from tests.gateway.command_support import ask, enrolled_board, latest, movements, queue_of, told
from tests.gateway.gateway_support import Thing, eventually, gateway
from tests.gateway.test_gateway_coap import client
from tests.micropython_runner import command
from tests.node.node_process import NodeProcess

from thingroom_common.config_file import ConfigError
from thingroom_gateway.app import Gateway
from thingroom_gateway.commands.command import Settings
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.links import coap_down, coap_guard
from thingroom_wire.downlink import Answer, encode_answer

SECONDS = 60
LISTEN = Path(__file__).parent.parent / "node/on_board/coap_listen.py"


def observers(running: Gateway) -> int:
    assert running.coap is not None
    return len(running.coap.down)


async def test_a_command_reaches_a_node_that_has_nothing_to_say(tmp_path: Path, config: GatewayConfig) -> None:
    """It samples once a minute; the second command cannot have come with the answer to a reading of its own accord."""
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, link="coap", port=config.coap.port)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock", state="synchronised")
            await eventually(lambda: observers(running) == 1, SECONDS)
            for number, value in enumerate(("on", "off", "on"), 1):
                assert await told(running, await ask(running, device, value), SECONDS) == ("done", "")
                assert movements(tmp_path) == (value == "on", number)
            assert latest(running, device, "on") == "true"
        assert node.stderr == b""


async def test_a_large_command_comes_in_blocks(tmp_path: Path, config: GatewayConfig) -> None:
    """Commands of 1024 bytes, several in one answer, are more than a datagram should carry."""
    sent: list[bytes] = []
    async with gateway(config) as running:
        device, settings = await enrolled_board(running, tmp_path, link="coap", port=config.coap.port)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("clock", state="synchronised")
            await eventually(lambda: observers(running) == 1, SECONDS)
            assert running.coap is not None
            send = running.coap.down.send

            def padded(kid: bytes, data: bytes) -> bool:
                """The same answer, with commands before it that are none: the node drops those."""
                commands = [bytes(1000), bytes(1000), *running_commands(data, device.row.downlink_key)]
                large = encode_answer(
                    device.row.downlink_key, kid, Answer([], None, None, [], None, None, commands, None)
                )
                sent.append(large)
                return send(kid, large)

            queue_of(running).pushers["coap"] = padded
            assert await told(running, await ask(running, device, "on"), SECONDS) == ("done", "")
            assert movements(tmp_path) == (True, 1)
            queued = await queue_of(running).configure(device, Settings(interval_ms=50_000), "")
            assert await told(running, queued.id, SECONDS) == ("done", "")  # type: ignore[union-attr]
        assert node.stderr == b""
    assert all(len(data) > 2 * coap_down.BLOCK_BYTES for data in sent) and len(sent) >= 2


def running_commands(data: bytes, key: bytes) -> list[bytes]:
    from thingroom_wire.downlink import parse_answer

    commands: list[bytes] = parse_answer(data, key).commands
    return commands


async def test_a_node_observes_again_when_the_gateway_has_forgotten(config: GatewayConfig) -> None:
    """It is told that its observation is over; or finds out by itself, when it looks whether its way is open."""
    thing = Thing()
    async with gateway(config, thing) as running:
        assert running.coap is not None
        down = running.coap.down
        hellos = [thing.hello(number.to_bytes(8, "big"), uptime=number * 1000) for number in range(1, 4)]
        argv, environment = command(LISTEN, str(config.coap.port), "300")
        process = await asyncio.create_subprocess_exec(*argv, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        try:
            assert process.stdin is not None
            process.stdin.write("\n".join(one.hex() for one in hellos).encode())
            process.stdin.close()

            async def line() -> str:
                assert process.stdout is not None
                said = await asyncio.wait_for(process.stdout.readline(), SECONDS)
                if not said:
                    assert process.stderr is not None
                    raise AssertionError((await process.stderr.read()).decode())
                return said.decode().strip()

            assert thing.answer(bytes.fromhex(await line())).nonce == (1).to_bytes(8, "big")
            down.close(thing.kid)
            assert await line() == "not_observed"
            assert thing.answer(bytes.fromhex(await line())).nonce == (2).to_bytes(8, "big")
            await eventually(lambda: observers(running) == 1, SECONDS)
            # As if it had been started anew.
            down._channels.clear()
            assert await line() == "not_observed"
            assert thing.answer(bytes.fromhex(await line())).nonce == (3).to_bytes(8, "big")
            await eventually(lambda: observers(running) == 1, SECONDS)
            assert down.send(thing.kid, b"still there")
            assert bytes.fromhex(await line()) == b"still there"
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


class Observer:
    """aiocoap's client at /down."""

    def __init__(self, context: aiocoap.Context, base: str, hello: bytes) -> None:
        request = Message(code=Code.FETCH, uri=f"{base}/down", payload=hello, content_format=18, observe=0)
        self.request = context.request(request, handle_blockwise=False)
        self.heard: list[bytes] = []
        self.is_over = False

    async def open(self) -> Message:
        response = await asyncio.wait_for(self.request.response, SECONDS)
        if response.opt.observe is not None:
            self._listening = asyncio.create_task(self._listen())
        return response

    async def _listen(self) -> None:
        try:
            async for message in self.request.observation:
                if message.code.is_successful():
                    self.heard.append(message.payload)
        except aiocoap.error.LibraryShutdown:
            return
        finally:
            self.is_over = True


@contextlib.asynccontextmanager
async def two_clients(config: GatewayConfig) -> AsyncIterator[tuple[Any, Any]]:
    async with client(config) as one, client(config) as other:
        yield one, other


async def test_only_the_device_observes_what_is_for_it(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running, two_clients(config) as (mine, strange):
        assert running.coap is not None
        send: Callable[[bytes, bytes], bool] = running.coap.down.send
        assert not send(thing.kid, b"nobody listens")
        early = thing.hello(uptime=1000)
        forged = early[:-1] + bytes((early[-1] ^ 1,))
        for hello, reason in ((forged, b"bad_signature"), (Thing(2).hello(), b"unknown_device"), (b"", b"truncated")):
            response = await Observer(strange.context, strange.base, hello).open()
            assert response.opt.observe is None and response.payload == reason
        assert observers(running) == 0
        first = Observer(mine.context, mine.base, early)
        response = await first.open()
        assert response.code == Code.CONTENT and thing.answer(response.payload).nonce == b"\1" * 8
        assert observers(running) == 1
        # Somebody who has recorded the hello gets the answer, which is no secret, and observes nothing.
        replayed = await Observer(strange.context, strange.base, early).open()
        assert replayed.code == Code.CONTENT
        later = Observer(mine.context, mine.base, thing.hello(b"2" * 8, uptime=2000))
        assert (await later.open()).opt.observe == 0
        assert (await Observer(strange.context, strange.base, early).open()).opt.observe is None
        await eventually(lambda: first.is_over, SECONDS)
        assert observers(running) == 1
        assert send(thing.kid, b"for you")
        await eventually(lambda: later.heard == [b"for you"], SECONDS)
        # A further block, or whether it observes: only for the remote that does.
        assert (await get(mine, None)).code == Code.VALID
        assert (await get(strange, None)).code == (await get(strange, 1)).code == Code.FORBIDDEN
        assert (await get(mine, 1)).code == Code.REQUEST_ENTITY_INCOMPLETE
        assert first.heard == []


async def get(one: Any, block: int | None) -> Message:
    request = Message(code=Code.GET, uri=f"{one.base}/down")
    if block is not None:
        request.opt.block2 = BlockOption.BlockwiseTuple(block, False, coap_down.BLOCK)
    response: Message = await one.context.request(request, handle_blockwise=False).response
    return response


async def test_observations_are_bounded_and_end_with_the_device(config: GatewayConfig) -> None:
    import msgspec

    config = msgspec.structs.replace(config, coap=msgspec.structs.replace(config.coap, down=1))
    thing, other = Thing(1), Thing(2, name="Cellar")
    async with gateway(config, thing, other) as running, two_clients(config) as (one, two):
        first = Observer(one.context, one.base, thing.hello())
        assert (await first.open()).opt.observe == 0
        refused = await Observer(two.context, two.base, other.hello()).open()
        assert refused.code == Code.CONTENT and refused.opt.observe is None
        await running.core.enrolment.revoke(thing.kid)
        await eventually(lambda: observers(running) == 0, SECONDS)
        assert (await Observer(two.context, two.base, other.hello(uptime=9000)).open()).opt.observe == 0


class Hollow:
    """A message manager of an aiocoap that has changed."""

    def __init__(self, **kept: object) -> None:
        self.__dict__.update(kept)


@pytest.mark.parametrize("gone", ["_recent_messages", "_backlogs", "dispatch_message"])
def test_an_aiocoap_that_is_made_otherwise_is_refused(gone: str) -> None:
    whole: dict[str, object] = {"_recent_messages": {}, "_backlogs": {}, "dispatch_message": print}
    coap_guard.check(Hollow(**whole))
    with pytest.raises(ConfigError, match=gone):
        coap_guard.check(Hollow(**{name: value for name, value in whole.items() if name != gone}))
    with pytest.raises(ConfigError):
        coap_guard.check(None)


async def test_this_aiocoap_has_what_the_bounds_rest_on(config: GatewayConfig) -> None:
    """What it remembers grows with what it hears, under the names that we look at."""
    thing = Thing()
    async with gateway(config, thing) as running, client(config) as coap:
        assert running.coap is not None
        (manager,) = running.coap._guard._managers
        before = len(manager._recent_messages)
        await coap.post("up", thing.envelope())
        assert len(manager._recent_messages) == before + 1
        assert manager._backlogs == {}
