"""The CoAP link alone on MicroPython: against aiocoap through a network that loses, repeats and reorders, and against a
scripted server that breaks the rules."""

import asyncio
import json
import socket
from collections.abc import Callable
from pathlib import Path

import aiocoap
import pytest
from aiocoap import resource
from tests.free_port import free_port
from tests.micropython_runner import command
from tests.node.coap_gateway import lossy_proxy
from tests.patience import PATIENCE_SECONDS

from thingroom_node.links import coap_message

BURST = Path(__file__).parent / "on_board/coap_burst.py"


async def burst(port: int, count: int, ack_timeout_ms: int) -> dict:
    argv, environment = command(BURST, str(port), str(count), str(ack_timeout_ms))
    process = await asyncio.create_subprocess_exec(
        *argv, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, error = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, out.decode() + error.decode()
    return json.loads(out)


class Quick(aiocoap.TransportTuning):
    """Separate responses are repeated soon."""

    ACK_TIMEOUT = 0.1


class Echo(resource.Resource):
    """Answers with the request; every third one late, so apart from its acknowledgement."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[str] = []

    async def render_post(self, request: aiocoap.Message) -> aiocoap.Message:
        self.received.append(request.payload.decode())
        if len(self.received) % 3 == 0:
            await asyncio.sleep(0.15)
        return aiocoap.Message(code=aiocoap.CHANGED, payload=request.payload, transport_tuning=Quick())


@pytest.mark.parametrize("seed", [1, 2])
async def test_every_message_is_answered_once_over_a_bad_network(seed: int) -> None:
    echo = Echo()
    site = resource.Site()
    site.add_resource(["up"], echo)
    port = free_port(socket.SOCK_DGRAM)
    server = await aiocoap.Context.create_server_context(
        site, bind=("127.0.0.1", port), transports=["simplesocketserver"]
    )
    async with lossy_proxy(port, seed, 0.15) as (proxy_port, proxy):
        result = await burst(proxy_port, 25, 80)
    await server.shutdown()
    expected = [f"message {number}" for number in range(25)]
    assert proxy.lost > 5 and proxy.repeated > 5
    # A message may fail when all its five copies were lost, and says so; it is never answered with another's answer.
    assert len(result["answers"]) + len(result["failures"]) == 25 and len(result["failures"]) <= 2
    assert [text for text in expected if text in result["answers"]] == result["answers"]
    assert set(result["answers"]) <= set(echo.received)
    # Repeats of a request are one request to the server (message ids, RFC 7252 section 4.5).
    assert len(echo.received) == len(set(echo.received))


Script = Callable[[coap_message.Message], list[bytes]]


class ScriptedServer(asyncio.DatagramProtocol):
    """Answers pings; for a request it sends what the script says. Remembers what it got."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.got: list[coap_message.Message] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        message = coap_message.parse(data)
        self.got.append(message)
        if message.kind == coap_message.CON and message.code == coap_message.EMPTY:
            replies = [coap_message.encode(coap_message.empty(coap_message.RST, message.message_id))]
        else:
            replies = self._script(message) if message.kind == coap_message.CON else []
        for reply in replies:
            self._transport.sendto(reply, address)


async def scripted(script: Script, count: int = 1) -> tuple[dict, ScriptedServer]:
    transport, server = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: ScriptedServer(script), local_addr=("127.0.0.1", 0)
    )
    result = await burst(transport.get_extra_info("sockname")[1], count, 60)
    transport.close()
    return result, server


def response(kind: int, message_id: int, token: bytes, payload: bytes, options: tuple = ()) -> bytes:
    return coap_message.encode(coap_message.Message(kind, 2 << 5 | 4, message_id, token, list(options), payload))


def good(message: coap_message.Message) -> bytes:
    return response(coap_message.ACK, message.message_id, message.token, message.payload)


async def test_noise_before_the_answer_changes_nothing() -> None:
    def script(message: coap_message.Message) -> list[bytes]:
        other = (message.message_id + 1) & 0xFFFF
        return [
            b"",
            b"\x00",
            b"\xff" * 40,
            bytes(20_000),
            response(coap_message.ACK, other, message.token, b"another message id"),
            response(coap_message.ACK, message.message_id, b"\x01\x02", b"another token"),
            response(coap_message.CON, 7, b"\x09\x09\x09\x09", b"another exchange"),
            response(coap_message.NON, 8, b"\x09\x09\x09\x08", b"another exchange"),
            response(coap_message.ACK, message.message_id, message.token, b"critical", ((9, b"x"),)),
            coap_message.encode(coap_message.empty(coap_message.RST, other)),
            b"\x40\x01\x00\x09\xff",
            good(message),
        ]

    result, server = await scripted(script, 3)
    assert result["answers"] == ["message 0", "message 1", "message 2"] and result["failures"] == []
    assert result["ignored"] >= 3 * 9
    resets = {message.message_id for message in server.got if message.kind == coap_message.RST}
    # A confirmable message that means nothing to us, or is malformed, is reset (4.2).
    assert resets == {7, 9}


async def test_a_separate_response_without_an_acknowledgement_before_it() -> None:
    def script(message: coap_message.Message) -> list[bytes]:
        separate = response(coap_message.CON, 100, message.token, message.payload)
        return [separate, separate]

    result, server = await scripted(script, 1)
    assert result["answers"] == ["message 0"]
    acknowledgements = [message for message in server.got if message.kind == coap_message.ACK]
    assert [message.message_id for message in acknowledgements][:1] == [100]
    assert not [message for message in server.got if message.kind == coap_message.RST]


async def test_a_reset_ends_the_exchange() -> None:
    result, _ = await scripted(lambda m: [coap_message.encode(coap_message.empty(coap_message.RST, m.message_id))])
    assert result == {"answers": [], "failures": ["reset_by_gateway"], "ignored": 0}


async def test_silence_ends_after_five_copies() -> None:
    result, server = await scripted(lambda message: [])
    assert result["failures"] == ["no_acknowledgement"]
    requests = [message for message in server.got if message.code == coap_message.POST]
    assert len(requests) == 5 and len({message.message_id for message in requests}) == 1


async def test_nobody_there() -> None:
    result = await burst(free_port(socket.SOCK_DGRAM), 1, 60)
    assert result["failures"] == ["econnrefused"]
