"""Forged, replayed, unknown, truncated and huge messages to both doors of a running home: counted, and nothing else."""

import asyncio
import contextlib
import os

import aiocoap
import aiomqtt
from tests.flows.readings import device_keys, room_named, timeline, unpadded
from tests.flows.test_run_demo import rooms_of, signed_in
from tests.flows.thingroom_run import Running
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_gateway import control

MEGABYTE = 1_000_000


async def counters(running: Running) -> dict[str, int]:
    answer = await asyncio.to_thread(control.ask, running.data / "gateway", {"command": "counters"})
    return dict(answer["counters"])


async def grown_to(running: Running, before: dict[str, int], prefix: str, number: int) -> dict[str, int]:
    """What was counted since `before`, once `number` of it is under `prefix`."""
    for _ in tries():
        after = await counters(running)
        grown = {name: count - before.get(name, 0) for name, count in after.items() if count > before.get(name, 0)}
        if sum(count for name, count in grown.items() if name.startswith(prefix)) >= number:
            return grown
        await asyncio.sleep(0.1)
    raise AssertionError(f"fewer than {number} of {prefix}: {grown}")


def hostile(envelope: bytes) -> dict[str, bytes]:
    """What an attacker makes of an envelope that they have seen."""
    forged = envelope[:-1] + bytes([envelope[-1] ^ 1])
    at = envelope.index(b"\x04\x48") + 2
    return {
        "forged": forged,
        "unknown": envelope[:at] + os.urandom(8) + envelope[at + 8 :],
        "truncated": envelope[: len(envelope) // 2],
        "noise": os.urandom(300),
        "deep": b"\xd2\x84" + b"\x81" * 500,
        "huge": envelope + bytes(MEGABYTE),
    }


async def post(context: aiocoap.Context, running: Running, payload: bytes) -> aiocoap.Message:
    uri = f"coap://127.0.0.1:{running.coap_port}/up"
    request = aiocoap.Message(code=aiocoap.POST, uri=uri, payload=payload, content_format=18)
    return await asyncio.wait_for(context.request(request).response, PATIENCE_SECONDS)


async def test_nothing_hostile_gets_in_or_stops_anything(tmp_path):
    async with Running(tmp_path / "data") as running:
        await running.until_printed("the first readings are in their Matrix room")
        client = await signed_in(running)
        rooms = await rooms_of(client, running)
        seen: list[bytes] = []
        while not seen:
            for event in await timeline(client, rooms["Kitchen"]):
                if event["type"] == "org.thingroom.readings":
                    seen += [unpadded(text) for text in event["content"]["envelopes"]]
        (kid,) = await device_keys(client, rooms["Kitchen"])
        before = await counters(running)

        # Over MQTT, with the gateway's own password: the most that a stolen broker account gives.
        password = (running.data / "gateway" / "broker_password").read_text().strip()
        topic = f"thingroom/1/{kid[0]}/{kid}/up"
        for payload in hostile(seen[0]).values():
            broker = aiomqtt.Client("127.0.0.1", running.broker_port, username="gateway", password=password)
            with contextlib.suppress(aiomqtt.MqttError):  # the broker may well hang up on the huge one
                async with broker:
                    await broker.publish(topic, payload, qos=1)
                    await broker.publish(topic, seen[0], qos=1)

        # Over CoAP, from anywhere.
        context = await aiocoap.Context.create_client_context()
        codes = {}
        for name, payload in hostile(seen[0]).items():
            codes[name] = (await post(context, running, payload)).code
        codes["replayed"] = (await post(context, running, seen[0])).code
        await context.shutdown()
        assert codes == {
            "forged": aiocoap.UNAUTHORIZED,
            "unknown": aiocoap.UNAUTHORIZED,
            "truncated": aiocoap.BAD_REQUEST,
            "noise": aiocoap.BAD_REQUEST,
            "deep": aiocoap.BAD_REQUEST,
            "huge": aiocoap.REQUEST_ENTITY_TOO_LARGE,
            "replayed": aiocoap.CHANGED,
        }

        for door in ("mqtt", "coap"):
            grown = await grown_to(running, before, f"{door}.rejected.", 5)
            assert grown[f"{door}.rejected.bad_signature"] == 1, grown
            assert grown[f"{door}.rejected.unknown_device"] == 1, grown
            assert grown[f"{door}.duplicate"] >= 1, grown

        # Nobody stopped, nobody noticed: every board goes on, and the rooms hold no reading twice.
        assert not any("stopped" in line for line in running.lines)
        told = len(running.lines)
        for name in rooms:
            await running.until(
                lambda name=name: any(name in line and "✓" in line for line in running.lines[told:]), 20
            )
        assert await room_named(client, "Kitchen") == rooms["Kitchen"]
        envelopes = [
            text
            for event in await timeline(client, rooms["Kitchen"])
            if event["type"] == "org.thingroom.readings"
            for text in event["content"]["envelopes"]
        ]
        assert len(envelopes) == len(set(envelopes))
        await client.close()
