"""CoAP with a real aiocoap client: readings, hellos, pairing, refusals, block-wise within bounds."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator

import aiocoap
from aiocoap import Code, Message
from aiocoap.optiontypes import BlockOption
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway

from thingroom_gateway.app import Gateway
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.links.coap import MAX_ASSEMBLIES, Assemblies, Partial, Whole
from thingroom_wire.downlink import parse_answer
from thingroom_wire.keys import pairing_keys
from thingroom_wire.senml import Record, encode_pack


class Client:
    """Posts to one gateway."""

    def __init__(self, context: aiocoap.Context, config: GatewayConfig) -> None:
        self.context = context
        self.base = f"coap://127.0.0.1:{config.coap.port}"

    async def post(self, path: str, payload: bytes) -> Message:
        request = Message(code=Code.POST, uri=f"{self.base}/{path}", payload=payload, content_format=18)
        return await self.context.request(request).response

    async def block(self, number: int, more: bool, payload: bytes, size1: int | None = None) -> Message:
        request = Message(code=Code.POST, uri=f"{self.base}/up", payload=payload, content_format=18)
        request.opt.block1 = BlockOption.BlockwiseTuple(number, more, 6)
        request.opt.size1 = size1
        return await self.context.request(request, handle_blockwise=False).response


@contextlib.asynccontextmanager
async def client(config: GatewayConfig) -> AsyncIterator[Client]:
    context = await aiocoap.Context.create_client_context(transports=["simple6"])
    try:
        yield Client(context, config)
    finally:
        await context.shutdown()


def counted(running: Gateway, name: str) -> int:
    return running.core.counters[name]


async def test_a_reading_is_acknowledged_and_comes_into_the_room(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    async with gateway(config, thing), client(config) as coap:
        response = await coap.post("up", thing.envelope())
        assert response.code == Code.CHANGED
        assert response.opt.content_format == 17
        assert thing.answer(response.payload).acknowledged == [(1, 1)]
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])
        await eventually(lambda: homeserver.events("m.room.message"))
    notice = homeserver.events("m.room.message")[0]
    assert notice["content"] == {"msgtype": "m.notice", "body": "Kitchen 20.1 °C, 45 %", "m.mentions": {}}
    assert notice["sender"] == f"@thing_{thing.hex}:home.test"


async def test_a_repeat_is_acknowledged_and_dropped(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    async with gateway(config, thing) as running, client(config) as coap:
        data = thing.envelope()
        for _ in range(3):
            assert thing.answer((await coap.post("up", data)).payload).acknowledged == [(1, 1)]
        assert counted(running, "coap.accepted") == 1
        assert counted(running, "coap.duplicate") == 2
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])


async def test_refusals_have_their_codes_and_reasons(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing, stranger = Thing(), Thing(2)
    good = thing.envelope(7)
    forged = good[:-1] + bytes((good[-1] ^ 1,))
    cases = [
        (b"", Code.BAD_REQUEST, "truncated"),
        (good[:-1], Code.BAD_REQUEST, "length_exceeds_input"),
        (good + b"\0", Code.BAD_REQUEST, "trailing_bytes"),
        (b"\xff" * 100, Code.BAD_REQUEST, "unexpected_break"),
        (forged, Code.UNAUTHORIZED, "bad_signature"),
        (stranger.envelope(), Code.UNAUTHORIZED, "unknown_device"),
        (b"\0" * 8193, Code.REQUEST_ENTITY_TOO_LARGE, "too_large"),
        (b"\0" * 1_000_000, Code.REQUEST_ENTITY_TOO_LARGE, "too_large"),
    ]
    async with gateway(config, thing) as running, client(config) as coap:
        for payload, code, reason in cases:
            before = counted(running, f"coap.rejected.{reason}")
            response = await coap.post("up", payload)
            assert (response.code, response.payload.decode()) == (code, reason)
            assert counted(running, f"coap.rejected.{reason}") == before + 1
        # Nothing else is disturbed: the good one goes through, and only that is stored.
        assert thing.answer((await coap.post("up", good)).payload).acknowledged == [(7, 7)]
        await eventually(lambda: homeserver.sequences(thing.hex) == [7])


async def test_unusable_content_is_refused_under_the_devices_key(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running, client(config) as coap:
        response = await coap.post("up", thing.envelope(payload=thing.pack(5000)))
        assert response.code == Code.CHANGED
        answer = thing.answer(response.payload)
        assert (answer.acknowledged, answer.refused) == ([], [(1, 1, "above_range")])
        response = await coap.post("up", thing.envelope(payload=b"\x80"))
        assert thing.answer(response.payload).refused == [(2, 2, "not_a_pack")]
        assert counted(running, "coap.refused.above_range") == 1
        assert counted(running, "coap.refused.not_a_pack") == 1


async def test_a_hello_gets_the_time_and_what_was_received(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing), client(config) as coap:
        for sequence in (1, 2, 5):
            await coap.post("up", thing.envelope(sequence))
        answer = thing.answer((await coap.post("hello", thing.hello(b"nonce-42"))).payload)
        assert answer.nonce == b"nonce-42"
        assert answer.time > 1_700_000_000_000
        assert answer.acknowledged == [(1, 2), (5, 5)]


async def test_pairing_by_code(config: GatewayConfig) -> None:
    thing = Thing(9, name="Porch")
    async with gateway(config) as running, client(config) as coap:
        assert (await coap.post("hello", thing.pairing_hello("00" * 16))).payload == b"pairing_closed"
        window = running.core.pairing.open(1)
        wrong = await coap.post("hello", thing.pairing_hello("00" * 16))
        assert (wrong.code, wrong.payload) == (Code.UNAUTHORIZED, b"wrong_pairing_code")
        response = await coap.post("hello", thing.pairing_hello(window.code, b"pairing!"))
        key = pairing_keys(bytes.fromhex(window.code.replace(" ", ""))).gateway
        answer = parse_answer(response.payload, key)
        assert answer.nonce == b"pairing!"
        thing.learn(answer.gateway_key, answer.agreement_key)
        # The answer was lost: the device asks again and gets the same keys.
        again = parse_answer((await coap.post("hello", thing.pairing_hello(window.code))).payload, key)
        assert again.gateway_key == answer.gateway_key
        running.core.pairing.close()
        assert (await coap.post("hello", thing.pairing_hello(window.code))).payload == b"pairing_closed"
        assert thing.answer((await coap.post("up", thing.envelope())).payload).acknowledged == [(1, 1)]
        assert [device.row.name for device in running.core.registry] == ["Porch"]


async def test_a_changed_key_is_a_new_device(config: GatewayConfig) -> None:
    old, new = Thing(3, name="Porch"), Thing(4, name="Porch")
    async with gateway(config, old) as running, client(config) as coap:
        window = running.core.pairing.open(1)
        await coap.post("hello", new.pairing_hello(window.code))
        assert {device.row.kid for device in running.core.registry} == {old.kid, new.kid}
        assert thing_acknowledged(old, await coap.post("up", old.envelope()))


def thing_acknowledged(thing: Thing, response: Message) -> bool:
    return bool(thing.answer(response.payload).acknowledged)


async def test_block_wise_is_bounded(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running, client(config) as coap:
        # Announced as too large: refused at the first block.
        assert (await coap.block(0, True, bytes(1024), size1=1_000_000)).code == Code.REQUEST_ENTITY_TOO_LARGE
        # Not announced: refused as soon as it grows too large, and forgotten.
        for number in range(8):
            assert (await coap.block(number, True, bytes(1024))).code == Code.CONTINUE
        assert (await coap.block(8, True, bytes(1024))).code == Code.REQUEST_ENTITY_TOO_LARGE
        assert (await coap.block(9, True, bytes(1024))).code == Code.REQUEST_ENTITY_TOO_LARGE
        assert (await coap.block(3, True, bytes(1024))).code == Code.REQUEST_ENTITY_INCOMPLETE
        assert counted(running, "coap.rejected.too_large") == 3
        # An envelope of several blocks, by aiocoap's own block-wise client.
        big = thing.envelope(payload=_long_pack())
        assert len(big) > 2048
        assert thing_acknowledged(thing, await coap.post("up", big))


def _long_pack() -> bytes:
    return encode_pack(
        "urn:dev:mac:0224befffe804ff1_",
        1_770_000_000_000,
        [Record("temperature", "Cel", 20 + i % 3, -i * 1000) for i in range(100)],
    )


async def test_a_gateway_that_cannot_commit_says_come_later(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    """Another process holds the database: 5.03 with Max-Age, nothing acknowledged; afterwards all is well."""
    thing = Thing()
    async with gateway(config, thing) as running, client(config) as coap:
        running.core.database._writer.execute("PRAGMA busy_timeout = 20")
        with contextlib.closing(sqlite3.connect(config.directory / "gateway.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            first = asyncio.create_task(coap.post("up", thing.envelope()))
            await eventually(lambda: running.ingest.stalled)
            busy = await coap.post("up", thing.envelope())
            assert (busy.code, busy.opt.max_age) == (Code.SERVICE_UNAVAILABLE, 5)
            assert not first.done()
            assert counted(running, "coap.busy.stalled") == 1
        assert thing.answer((await first).payload).acknowledged == [(1, 1)]
        assert thing.answer((await coap.post("up", thing.envelope(2))).payload).acknowledged == [(2, 2)]
        await eventually(lambda: homeserver.sequences(thing.hex) == [1, 2])


@given(
    st.lists(
        st.tuples(
            st.integers(0, 3),
            st.integers(0, 12),
            st.booleans(),
            st.binary(max_size=1024),
            st.sampled_from((None, 10, 9000)),
        ),
        max_size=60,
    )
)
def test_assemblies_hold_little_whatever_comes(blocks: list[tuple[int, int, bool, bytes, int | None]]) -> None:
    assemblies = Assemblies(lambda: 0.0)
    for key, number, more, block, announced in blocks:
        result = assemblies.feed(key, number, more, number * 1024, block, announced)
        if isinstance(result, Whole):
            assert len(result.payload) <= 8192
        assert len(assemblies) <= 4
        assert all(len(assembly.data) <= 8192 for assembly in assemblies._open.values())


async def test_well_known_core_lists_the_doors(config: GatewayConfig) -> None:
    async with gateway(config), client(config) as coap:
        response = await coap.context.request(Message(code=Code.GET, uri=f"{coap.base}/.well-known/core")).response
        text = response.payload.decode()
        assert "</up>" in text
        assert "</hello>" in text


def test_assemblies_are_bounded_in_number_and_time() -> None:
    now = [0.0]
    assemblies = Assemblies(lambda: now[0])
    for key in range(MAX_ASSEMBLIES + 10):
        assert isinstance(assemblies.feed(key, 0, True, 0, b"x" * 16, None), Partial)
    assert len(assemblies) == MAX_ASSEMBLIES
    assert assemblies.feed(0, 1, False, 16, b"y", None) == Partial(Code.REQUEST_ENTITY_INCOMPLETE)
    assert assemblies.feed(70, 1, False, 16, b"y", None) == Whole(b"x" * 16 + b"y")
    now[0] = 61.0
    assemblies.feed("new", 0, True, 0, b"x", None)
    assert len(assemblies) == 1
