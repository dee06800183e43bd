"""Latest values over CoAP with a real aiocoap client: SenML, Observe, links, blocks, who may read, what it may cost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiocoap
import cbor2
import msgspec
import pytest
from aiocoap import Code, Message
from aiocoap.optiontypes import BlockOption
from aiocoap.util import linkformat
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.gateway_support import TIME, Thing, eventually, gateway
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.links.coap_latest import MAX_SNAPSHOTS, Link, Snapshots, senml_cbor, senml_json
from thingroom_gateway.links.coap_sources import MAX_SOURCES, MAX_WAITING, Sources, source_of
from thingroom_gateway.series.reading import Reading
from thingroom_wire.senml import decode_pack


class Reader:
    """Reads from one gateway."""

    def __init__(self, context: aiocoap.Context, config: GatewayConfig) -> None:
        self.context = context
        self.base = f"coap://127.0.0.1:{config.coap.port}"

    def message(self, path: str, code: Any = Code.GET, **options: Any) -> Message:
        return Message(code=code, uri=f"{self.base}/{path}", **options)

    async def get(self, path: str, **options: Any) -> Message:
        return await asyncio.wait_for(self.context.request(self.message(path, **options)).response, PATIENCE_SECONDS)


@contextlib.asynccontextmanager
async def reader(config: GatewayConfig) -> AsyncIterator[Reader]:
    context = await aiocoap.Context.create_client_context()
    try:
        yield Reader(context, config)
    finally:
        await context.shutdown()


def with_coap(config: GatewayConfig, **options: Any) -> GatewayConfig:
    return msgspec.structs.replace(config, coap=msgspec.structs.replace(config.coap, **options))


async def post(coap: Reader, payload: bytes, path: str = "up") -> Message:
    return await asyncio.wait_for(
        coap.context.request(coap.message(path, Code.POST, payload=payload, content_format=18)).response, 10
    )


async def test_latest_values_as_senml(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing), reader(config) as coap:
        path = f"latest/{thing.hex}"
        empty = await coap.get(path)
        assert (empty.code, empty.opt.content_format, empty.payload) == (Code.CONTENT, 110, b"[]")
        assert (await coap.get(path, accept=112)).payload == b"\x80"
        await post(coap, thing.envelope(payload=thing.pack(-5)))
        answer = await coap.get(path)
        base = "urn:dev:mac:" + decode_pack(thing.pack()).base_name.removeprefix("urn:dev:mac:")
        assert json.loads(answer.payload) == [
            {"bn": base, "n": "humidity", "u": "%RH", "t": TIME / 1000, "v": 45.2},
            {"n": "temperature", "u": "Cel", "t": TIME / 1000, "v": -0.5},
        ]
        binary = await coap.get(path, accept=112)
        assert binary.opt.content_format == 112
        pack = decode_pack(binary.payload)
        assert (pack.base_name, pack.base_time_ms) == (base, TIME)
        first = cbor2.loads(binary.payload)[1]
        assert (first[0], first[1], float(first[2])) == ("temperature", "Cel", -0.5)
        again = await coap.get(path, etags=[answer.opt.etag])
        assert again.code == Code.VALID and not again.payload
        assert (await coap.get(path, accept=50)).code == Code.NOT_ACCEPTABLE
        for missing in ("latest/0000000000000000", "latest/zz", "latest/" + thing.hex + "/x", "latest/é"):
            assert (await coap.get(missing)).code == Code.NOT_FOUND
        assert (await coap.context.request(coap.message(path, Code.PUT, payload=b"1")).response).code == (
            Code.METHOD_NOT_ALLOWED
        )


async def test_observe(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(config, thing) as running, reader(config) as coap:
        assert running.coap is not None
        request = coap.context.request(coap.message(f"latest/{thing.hex}", observe=0))
        assert (await request.response).payload == b"[]"
        assert running.coap.latest.observers == 1
        notifications = aiter(request.observation)
        for tenths in (200, 210):
            await post(coap, thing.envelope(payload=thing.pack(tenths, TIME + tenths)))
            told = await asyncio.wait_for(anext(notifications), PATIENCE_SECONDS)
            values = {entry["n"]: entry["v"] for entry in json.loads(told.payload)}
            assert values["temperature"] == tenths / 10
        request.observation.cancel()


async def test_observers_are_bounded_and_the_others_still_get_an_answer(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(with_coap(config, observers=8), thing) as running, reader(config) as coap:
        assert running.coap is not None
        requests = [coap.context.request(coap.message(f"latest/{thing.hex}", observe=0)) for _ in range(5)]
        answers = [await asyncio.wait_for(request.response, PATIENCE_SECONDS) for request in requests]
        assert all(answer.payload == b"[]" for answer in answers)
        assert [answer.opt.observe is not None for answer in answers].count(True) == 2
        assert running.coap.latest.observers == 2
        for request, answer in zip(requests, answers, strict=True):
            if answer.opt.observe is not None:
                request.observation.cancel()


async def test_an_observer_that_is_gone_costs_little_and_is_forgotten(config: GatewayConfig) -> None:
    """One notification and its repeats at most, whatever happens meanwhile; a reset ends it."""
    thing = Thing()
    async with gateway(config, thing) as running, reader(config) as coap:
        assert running.coap is not None
        with silent_client(config) as client:
            client.send(b"\x41\x01\x12\x34\xaa\x60" + b"\x56latest\x0d\x03" + thing.hex.encode())
            await eventually(lambda: running.coap.latest.observers == 1)  # type: ignore[union-attr]
            for _ in range(20):
                await post(coap, thing.envelope())
                await asyncio.sleep(0.03)
            await asyncio.sleep(0.4)
            client.setblocking(False)
            datagrams = []
            with contextlib.suppress(BlockingIOError):
                while True:
                    datagrams.append(client.recv(2000))
            answer, notification = dict.fromkeys(datagrams)
            assert answer == datagrams[0]
            assert notification[0] >> 4 & 3 == 0, "a notification is confirmable"
            client.send(b"\x70\x00" + notification[2:4])
            await eventually(lambda: running.coap.latest.observers == 0)  # type: ignore[union-attr]


@contextlib.contextmanager
def silent_client(config: GatewayConfig, address: str = "127.0.0.1") -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind((address, 0))
        client.connect(("127.0.0.1", config.coap.port))
        client.settimeout(5)
        yield client


async def test_links(config: GatewayConfig) -> None:
    kitchen, cellar = Thing(1, name='Kitchen "east" \\ ä'), Thing(2, name="Cellar", profile="soil")
    async with gateway(config, kitchen, cellar), reader(config) as coap:
        answer = await coap.get(".well-known/core")
        assert answer.opt.content_format == 40
        links = {link.href: link for link in linkformat.parse(answer.payload.decode()).links}
        assert set(links) == {"/up", "/hello", "/down", "/latest", f"/latest/{kitchen.hex}", f"/latest/{cellar.hex}"}
        latest = links[f"/latest/{kitchen.hex}"]
        assert latest.rt == ["org.thingroom.latest"] and latest.ct == ["110 112"] and "obs" in dict(latest.attr_pairs)
        assert '</up>;rt="org.thingroom.up";ct=18' in answer.payload.decode()
        found = linkformat.parse((await coap.get(".well-known/core?rt=org.thingroom.l*")).payload.decode())
        assert {link.href for link in found.links} == {f"/latest/{kitchen.hex}", f"/latest/{cellar.hex}"}
        for query in ("ct=110", "obs", "title=Cellar"):
            text = (await coap.get(f".well-known/core?{query}")).payload.decode()
            assert f"/latest/{cellar.hex}" in text
            assert query == "obs" or "/up" not in text
        assert (await coap.get(".well-known/core?href=/nothing")).payload == b""
        listed = linkformat.parse((await coap.get("latest")).payload.decode())
        assert len(listed.links) == 2


@given(st.text(max_size=30))
def test_titles_do_not_break_out_of_their_link(title: str) -> None:
    text = str(Link("/latest/x", (("title", title), ("obs", None))))
    assert "\n" not in text and text.endswith(";obs")
    inner = text.removeprefix('</latest/x>;title="').removesuffix('";obs')
    assert '"' not in inner.replace("\\\\", "").replace('\\"', "")


async def test_only_named_networks_read(config: GatewayConfig) -> None:
    thing = Thing()
    closed = with_coap(config, readers=("192.0.2.0/24",))
    async with gateway(closed, thing), reader(closed) as coap:
        assert (await coap.get(f"latest/{thing.hex}")).code == Code.FORBIDDEN
        assert (await coap.get(f"latest/{thing.hex}", observe=0)).code == Code.FORBIDDEN
        assert (await coap.get("latest")).code == Code.FORBIDDEN
        text = (await coap.get(".well-known/core")).payload.decode()
        assert "latest" not in text and "</up>" in text
        assert (await post(coap, thing.envelope())).code == Code.CHANGED


async def test_nothing_is_amplified(config: GatewayConfig) -> None:
    """Whoever has proved nothing gets small blocks: a forged address gets a few times what the forger sends."""
    things = [Thing(seed, name=f"A device with quite a long name {seed}") for seed in range(1, 8)]
    strict = with_coap(config, unlimited=())
    async with gateway(strict, *things), reader(strict) as coap:
        with silent_client(strict) as client:
            requests = {
                "core": b"\x40\x01\x00\x01\xbb.well-known\x04core",
                "latest": b"\x40\x01\x00\x02\xb6latest",
                "observe": b"\x40\x01\x00\x03\x60\x56latest\x0d\x03" + things[0].hex.encode(),
                "garbage up": b"\x40\x02\x00\x04\xb2up\xff" + b"x" * 30,
            }
            for name, datagram in requests.items():
                client.send(datagram)
                answer = await asyncio.to_thread(client.recv, 2000)
                assert len(answer) <= 110, (name, len(answer))
        whole = await coap.get(".well-known/core")
        assert whole.payload.count(b"org.thingroom.latest") == 7
        # After something signed the address is known, and blocks are large.
        await post(coap, things[0].envelope())
        first = coap.message(".well-known/core")
        first.opt.block2 = BlockOption.BlockwiseTuple(0, False, 6)
        answer = await coap.context.request(first, handle_blockwise=False).response
        assert len(answer.payload) > 500


async def test_too_many_requests_of_one_address_are_dropped_and_counted(config: GatewayConfig) -> None:
    thing = Thing()
    async with gateway(with_coap(config, requests_per_second=5.0, burst=20), thing) as running, reader(config) as coap:
        with silent_client(config, "127.0.0.2") as client:
            for number in range(200):
                client.send(b"\x50\x02" + number.to_bytes(2, "big") + b"\xb2up\xffgarbage")
            # Those of other addresses go on meanwhile.
            assert (await post(coap, thing.envelope())).code == Code.CHANGED
            await eventually(lambda: running.core.counters["coap.rejected.too_many"] >= 170)
        assert running.core.counters["coap.accepted"] == 1


async def test_the_same_on_all_addresses(config: GatewayConfig) -> None:
    """aiocoap has another transport for that, whose remotes are others."""
    thing = Thing()
    everywhere = with_coap(config, host="0.0.0.0", requests_per_second=1.0, burst=5)
    async with gateway(everywhere, thing) as running, reader(everywhere) as coap:
        await post(coap, thing.envelope())
        request = coap.context.request(coap.message(f"latest/{thing.hex}", observe=0))
        assert b"temperature" in (await request.response).payload
        notifications = aiter(request.observation)
        await post(coap, thing.envelope())
        assert b"temperature" in (await asyncio.wait_for(anext(notifications), PATIENCE_SECONDS)).payload
        request.observation.cancel()
        with silent_client(everywhere, "127.0.0.2") as client:
            for number in range(50):
                client.send(b"\x50\x02" + number.to_bytes(2, "big") + b"\xb2up\xffgarbage")
            client.send(b"\xff\xff\xff")
            await eventually(lambda: running.core.counters["coap.rejected.too_many"] >= 40)
            await eventually(lambda: running.core.counters["coap.rejected.malformed"] == 1)


async def test_what_is_remembered_of_messages_is_bounded(config: GatewayConfig) -> None:
    """Also of those that no client would send: requests that say they are acknowledgements."""
    async with gateway(with_coap(config, unlimited=(), requests_per_second=5.0, burst=20)) as running:
        assert running.coap is not None
        with silent_client(config) as client:
            for number in range(200):
                kind = (0x40, 0x50, 0x60, 0x70)[number % 4]
                client.send(bytes((kind, 2)) + number.to_bytes(2, "big") + b"\xb2up\xffgarbage")
            await eventually(lambda: running.core.counters["coap.rejected.malformed"] == 100)
            await eventually(lambda: running.core.counters["coap.rejected.too_many"] >= 50)
            (manager,) = running.coap._guard._managers
            assert 0 < len(manager._recent_messages) < 50


async def test_networks_that_are_none_are_a_mistake_in_the_configuration(config: GatewayConfig) -> None:
    with pytest.raises(BaseException, match=r"change readers in \[gateway.coap\]"):
        async with gateway(with_coap(config, readers=("everybody",))):
            pass


# --- parts -----------------------------------------------------------------------------------------------------------

numbers = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**9), max_value=10**9)
readings = st.one_of(
    st.builds(lambda value: (str(value), "number"), numbers),
    st.builds(lambda value: (str(value).lower(), "boolean"), st.booleans()),
    st.builds(lambda value: (value, "text"), st.text(max_size=20)),
)


@given(st.dictionaries(st.from_regex(r"[a-z][a-z0-9_.-]{0,10}", fullmatch=True), readings, min_size=1, max_size=5))
def test_json_and_cbor_say_the_same(values: dict[str, tuple[str, str]]) -> None:
    given_ = {name: Reading(TIME + at, value, "", kind) for at, (name, (value, kind)) in enumerate(values.items())}
    pack = decode_pack(senml_cbor(bytes(8), given_))
    entries = json.loads(senml_json(bytes(8), given_))
    assert [record.name for record in pack.records] == [entry["n"] for entry in entries] == sorted(given_)
    for record, entry in zip(pack.records, entries, strict=True):
        value = next(entry[label] for label in ("v", "vb", "vs") if label in entry)
        kind = given_[record.name].kind
        shown = record.value
        if kind == "number" and type(shown) is not int:
            shown = float(f"{shown.mantissa}e{shown.exponent}")
        assert shown == value
        assert pack.base_time_ms + record.time == round(entry["t"] * 1000) == given_[record.name].ts


def test_snapshots_are_bounded() -> None:
    now = [0.0]
    snapshots = Snapshots(lambda: now[0])
    for key in range(MAX_SNAPSHOTS + 10):
        snapshots.put(key, b"x")
    assert len(snapshots) == MAX_SNAPSHOTS and snapshots.get(0) is None and snapshots.get(20) == b"x"
    now[0] = 61.0
    assert snapshots.get(20) is None
    snapshots.put("new", b"y")
    assert len(snapshots) == 1


def test_a_flood_from_everywhere_leaves_the_devices_their_share() -> None:
    now = [0.0]
    sources = Sources(10.0, 20, [], lambda: now[0])
    assert sources.admit("198.51.100.1")
    sources.trust("198.51.100.1")
    admitted = 0
    for number in range(50_000):
        now[0] += 0.0001
        admitted += sources.admit(f"203.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert admitted <= 20 * 4 + 5 * 10 * 4 + 1
    assert len(sources) <= 2 * MAX_SOURCES
    assert sources.admit("198.51.100.1")


def test_requests_that_wait_are_bounded_for_each_source() -> None:
    sources = Sources(1.0, 1, [], lambda: 0.0)
    assert all(sources.enter("192.0.2.1") for _ in range(MAX_WAITING))
    assert not sources.enter("192.0.2.1") and sources.enter("192.0.2.2")
    sources.leave("192.0.2.1")
    assert sources.enter("192.0.2.1")


def test_what_counts_as_one_source() -> None:
    assert source_of("192.0.2.7") == "192.0.2.7" == source_of("::ffff:192.0.2.7")
    assert source_of("2001:db8:1:2:3:4:5:6") == source_of("2001:db8:1:2::1") == "2001:db8:1:2::"
    assert source_of("fe80::1%eth0") == "fe80::"
    assert source_of("::1") == "::1"
