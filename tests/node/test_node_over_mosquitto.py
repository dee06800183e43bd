"""The whole node on MicroPython against a real Mosquitto: enrolment, delivery, outages, forgeries, the will."""

import asyncio
from pathlib import Path

from tests.node.mosquitto_broker import Broker, gateway_on
from tests.node.node_process import NodeProcess, node_settings
from tests.node.stand_in_gateway import StandInGateway
from tests.patience import PATIENCE_SECONDS

from thingroom_wire import cbor, downlink, envelope, keys, senml

CODE = bytes(range(16))


def acknowledged(node: NodeProcess) -> set[int]:
    numbers: set[int] = set()
    for event in node.of("acknowledged"):
        for first, last in event["ranges"]:
            numbers.update(range(first, last + 1))
    return numbers


async def test_a_node_pairs_and_delivers_everything_it_sampled(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("enrolled")
            await node.event("clock", state="synchronised")
            await node.until(lambda: {1, 20} <= acknowledged(node))
    assert gateway.hellos[0].name == "Kitchen" and gateway.hellos[0].profile == "climate"
    assert set(gateway.envelopes) >= set(range(1, 21))
    gateway.check_chain()
    last = envelope.parse_envelope(gateway.envelopes[20])
    assert last.header.clock.state == envelope.SYNCHRONISED
    pack = senml.decode_pack(last.payload)
    assert [record.name for record in pack.records] == ["temperature", "humidity"]
    assert pack.base_time_ms is not None
    first = envelope.parse_envelope(gateway.envelopes[1])
    assert first.header.clock.state == envelope.UNSET
    assert senml.decode_pack(first.payload).base_time_ms is None
    assert isinstance(pack.records[0].value, cbor.Decimal)


async def test_an_outage_stops_nothing_and_loses_nothing(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    broker = Broker(tmp_path)
    settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=20)
    await broker.start()
    async with NodeProcess(tmp_path, settings) as node:
        async with gateway_on(broker, gateway):
            await node.until(lambda: len(acknowledged(node)) > 5)
        await broker.stop()
        await node.event("link", state="down")
        before = len(node.sampled())
        await node.until(lambda: len(node.sampled()) > before + 40)
        await broker.start()
        async with gateway_on(broker, gateway):
            target = set(node.sampled()[before:])
            await node.until(lambda: target <= acknowledged(node))
        await broker.stop()
    assert target <= set(gateway.envelopes)
    gateway.check_chain()


async def test_the_newest_reading_does_not_wait_behind_a_backlog(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    broker = Broker(tmp_path)
    settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=10)
    async with NodeProcess(tmp_path, settings) as node:
        await node.until(lambda: len(node.sampled()) >= 80)
        await node.kill()
    sampled = node.sampled()
    await broker.start()
    async with NodeProcess(tmp_path, {**settings, "interval_ms": 60_000}) as node, gateway_on(broker, gateway):
        newest = (await node.event("sampled"))["sequence"]
        await node.until(lambda: {newest, *sampled} <= acknowledged(node))
    await broker.stop()
    assert gateway.arrivals.index(newest) < 3
    others = [sequence for sequence in gateway.arrivals if sequence != newest]
    assert others[: len(sampled)] == sorted(sampled)


async def test_a_silent_gateway_is_probed_not_flooded(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=10)
        async with NodeProcess(tmp_path, settings) as node:
            await node.until(lambda: len(acknowledged(node)) > 3)
            gateway.silent = True
            settled = len(gateway.arrivals)
            before = len(node.sampled())
            await node.until(lambda: len(node.sampled()) > before + 150)
            assert len(gateway.arrivals) - settled <= 40
            assert len(set(gateway.arrivals[-16:])) == 16


async def test_what_is_not_the_gateways_makes_nothing_forgotten(tmp_path: Path) -> None:
    gateway, stranger = StandInGateway(CODE), StandInGateway()
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway) as client:
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex(), interval_ms=30)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("enrolled")
            key = await node.event("key")
            kid = bytes.fromhex(key["kid"])
            down = f"thingroom/1/{key['kid'][0]}/{key['kid']}/down"
            await node.until(lambda: len(acknowledged(node)) > 2)
            gateway.silent = True
            await node.until(lambda: len(node.sampled()) > 30)
            held = max(acknowledged(node))
            stranger.enrol(bytes.fromhex(key["key"]), bytes.fromhex(key["agreement_key"]))
            genuine = gateway.answer(kid, acknowledged=[(1, 1)])
            empty = downlink.Answer([(1, held + 5)], None, None, [], None, None, [], None)
            for_another = downlink.encode_answer(gateway.downlink_keys[kid], b"anotherk", empty)
            forgeries = {
                "bad_tag": stranger.answer(kid, acknowledged=[(1, held + 5)]),
                "wrong_key_id": for_another,
                "impossible_range": gateway.answer(kid, acknowledged=[(1, 2**40)]),
                "replayed": gateway.answer(kid, time=5, nonce=bytes(8), acknowledged=[(1, held + 5)]),
                "nothing_new": genuine,
                "too_large": bytes(9000),
            }
            cut_short = [genuine[:length] for length in range(0, len(genuine) - 1, 7)]
            for payload in [*cut_short, *forgeries.values(), b"\xff" * 100, b"\x9f" * 1000]:
                await client.publish(down, payload, qos=1)
            total = len(cut_short) + len(forgeries) + 2
            await node.until(lambda: bool(node.of("dropped")) and node.of("dropped")[-1]["total"] * 2 > total)
            assert max(acknowledged(node)) == held
            # The real one still counts, and nothing of the noise took the link down.
            await client.publish(down, gateway.answer(kid, acknowledged=[(held + 1, held + 3)]), qos=1)
            await node.until(lambda: held + 3 in acknowledged(node))
            assert not [event for event in node.of("link") if event["state"] == "down"]
            for _ in range(total):
                await client.publish(down, genuine, qos=1)
            await node.until(lambda: set(forgeries) <= set(node.of("dropped")[-1]["reasons"]))
            # What was sent into the silence is sent again after a time-out.
            gateway.silent = False
            await node.until(lambda: set(node.sampled()[:40]) <= acknowledged(node))


async def test_refused_readings_are_forgotten_and_told(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    gateway.refused = {3: "bad_unit"}
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            refused = await node.event("refused")
            await node.until(lambda: {1, 2, 4, 5} <= acknowledged(node))
    assert refused == {"event": "refused", "range": [3, 3], "count": 1, "reason": "bad_unit"}


async def test_a_gateways_huge_message_closes_the_link_and_it_comes_back(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway) as client:
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("enrolled")
            await node.until(lambda: len(acknowledged(node)) > 2)
            kid = node.of("key")[0]["kid"]
            await client.publish(f"thingroom/1/{kid[0]}/{kid}/down", bytes(100_000), qos=0)
            await node.event("link", state="down", reason="packet_too_large")
            count = len(acknowledged(node))
            await node.until(lambda: len(acknowledged(node)) > count + 3)


async def test_status_is_online_and_after_a_kill_offline(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    seen: list[bytes] = []

    def tap(topic: str, payload: bytes) -> None:
        if topic.endswith("/status"):
            seen.append(payload)

    async with Broker(tmp_path) as broker, gateway_on(broker, gateway, tap):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            await node.until(lambda: len(acknowledged(node)) > 1)
            assert seen == [b"online"]
            await node.kill()
        async with asyncio.timeout(PATIENCE_SECONDS):
            while seen != [b"online", b"offline"]:
                await asyncio.sleep(0.02)


async def test_enrolment_by_key_needs_no_code(tmp_path: Path) -> None:
    gateway = StandInGateway()
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port)
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("waiting")
            await node.until(lambda: len(node.sampled()) > 3)
            key = await node.event("key")
            await node.kill()
        gateway.enrol(bytes.fromhex(key["key"]), bytes.fromhex(key["agreement_key"]))
        settings["gateway"] = {"key": gateway.public.hex(), "agreement_key": gateway.agreement_public.hex()}
        async with NodeProcess(tmp_path, settings) as node:
            await node.until(lambda: {1, 2, 3} <= acknowledged(node))
    gateway.check_chain()


async def test_pairing_goes_on_until_it_is_answered(tmp_path: Path) -> None:
    gateway = StandInGateway(CODE)
    gateway.silent = True
    async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
        settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
        async with NodeProcess(tmp_path, settings) as node:
            await node.event("link", state="up")
            async with asyncio.timeout(PATIENCE_SECONDS):
                while len(gateway.hellos) < 1:
                    await asyncio.sleep(0.05)
            gateway.silent = False
            assert not node.of("enrolled")
            await node.event("enrolled")
    assert len({greeting.nonce for greeting in gateway.hellos}) == len(gateway.hellos) >= 2


async def test_another_code_pairs_again_and_the_same_does_not(tmp_path: Path) -> None:
    first, second = StandInGateway(CODE), StandInGateway(CODE[::-1])
    settings = node_settings(tmp_path, pairing_code=CODE.hex())
    for gateway, code, enrols in ((first, CODE, True), (first, CODE, False), (second, CODE[::-1], True)):
        async with Broker(tmp_path) as broker, gateway_on(broker, gateway):
            changed = {**settings, "port": broker.port, "pairing_code": code.hex()}
            async with NodeProcess(tmp_path, changed) as node:
                await node.until(lambda node=node: len(acknowledged(node)) > 1)
                assert bool(node.of("enrolled")) == enrols
    gateway.check_chain()


async def test_the_brokers_users_and_rules(tmp_path: Path) -> None:
    """Pairing as the user `pairing`, then as the device, each with its derived password, under the access rules."""
    gateway = StandInGateway(CODE)
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    rules = tmp_path / "rules"
    rules.write_text(
        "user gateway\ntopic readwrite thingroom/#\n"
        "user pairing\ntopic write thingroom/1/+/+/hello\n"
        "pattern read thingroom/1/+/%c/down\n"
        "pattern write thingroom/1/+/%u/up\npattern write thingroom/1/+/%u/hello\n"
        "pattern write thingroom/1/+/%u/status\npattern read thingroom/1/+/%u/down\n"
    )
    await set_password(passwords, "pairing", keys.pairing_keys(CODE).broker_password)
    await set_password(passwords, "gateway", "stand-in")
    lines = f"allow_anonymous false\npassword_file {passwords}\nacl_file {rules}\n"
    broker = Broker(tmp_path, lines)
    settings = node_settings(tmp_path, port=broker.port, pairing_code=CODE.hex())
    await broker.start()
    async with NodeProcess(tmp_path, settings) as node:
        async with gateway_on(broker, gateway):
            await node.event("enrolled")
        kid = node.of("key")[0]["kid"]
        await node.event("link", state="down", reason="not_authorised")
        await broker.stop()
        await set_password(passwords, kid, keys.broker_password(gateway.downlink_keys[bytes.fromhex(kid)]))
        await broker.start()
        async with gateway_on(broker, gateway):
            await node.until(lambda: {1, 2, 3} <= acknowledged(node))
    await broker.stop()


async def set_password(file: Path, user: str, password: str) -> None:
    process = await asyncio.create_subprocess_exec("mosquitto_passwd", "-b", str(file), user, password)
    assert await process.wait() == 0
