"""The gateway as an application service of a homeserver that is not ours: Synapse, with the limits it comes with.

Real Mosquitto with the users that the gateway manages, real Synapse, a device made here. What the owner sees is read
with matrix-nio and verified with PyNaCl and cbor2 alone, as a stranger would who has nothing but the room.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiomqtt
import cbor2
import nacl.bindings
import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from nio import AsyncClient, JoinedMembersResponse, RoomGetStateResponse, RoomMessagesResponse, SyncResponse
from tests.flows.gateway_stack import Device, Gateway, Mosquitto, running_gateway, running_mosquitto
from tests.free_port import free_port
from tests.synapse_peer.server import Account, Synapse, SynapseSettings, running_synapse

from thingroom_gateway.registration import write_registration
from thingroom_wire.downlink import parse_answer
from thingroom_wire.keys import broker_password, downlink_key, key_id

SERVER_NAME = "synapse.test"
READINGS = "org.thingroom.readings"
DEVICE = "org.thingroom.device"
SECONDS = 30.0


@dataclass
class Home:
    """What runs, and who lives there."""

    synapse: Synapse
    broker: Mosquitto
    gateway: Gateway
    owner: Account


@contextlib.asynccontextmanager
async def running_home(
    directory: Path,
    room_version: str,
    *,
    rate_limited: bool = False,
    synapse_extra: Mapping[str, Any] | None = None,
    **gateway_sections: Any,
) -> AsyncIterator[Home]:
    """`rate_limited`: Synapse limits the gateway's users like people. `synapse_extra` goes over its configuration."""
    registration, appservice_port = directory / "registration.yaml", free_port()
    write_registration(registration, SERVER_NAME, f"http://127.0.0.1:{appservice_port}")
    if rate_limited:
        registration.write_text(json.dumps({**json.loads(registration.read_text()), "rate_limited": True}))
    settings = SynapseSettings(
        server_name=SERVER_NAME,
        appservice_files=(registration,),
        default_rate_limits=True,
        default_room_version=room_version,
        extra=synapse_extra or {},
    )
    async with (
        running_synapse(directory / "synapse", settings) as synapse,
        running_mosquitto(directory / "broker") as broker,
    ):
        owner = await synapse.register("owner")
        gateway_settings: dict[str, Any] = {
            "homeserver_url": synapse.base_url,
            "server_name": SERVER_NAME,
            "registration_file": str(registration),
            "owner": owner.user_id,
            "mqtt": broker.settings,
            "coap": {"enabled": False},
            "appservice": {"port": appservice_port},
            "batch": {"seconds": 0.5},
            **gateway_sections,
        }
        async with running_gateway(directory / "gateway", gateway_settings) as gateway:
            yield Home(synapse, broker, gateway, owner)


async def enrol(gateway: Gateway, device: Device) -> bytes:
    """Returns the device's downlink key."""
    answer = await gateway.enrol(device)
    assert answer["ok"], answer
    shared = nacl.bindings.crypto_scalarmult(device.agreement_private, bytes.fromhex(answer["gateway_agreement_key"]))
    return downlink_key(shared, device.kid, key_id(bytes.fromhex(answer["gateway_key"])))


@contextlib.asynccontextmanager
async def broker_client(broker: Mosquitto, device: Device, downlink: bytes) -> AsyncIterator[aiomqtt.Client]:
    """The device's own connection. The broker knows a new device a moment after it is enrolled."""
    deadline = time.monotonic() + SECONDS
    while True:
        client = aiomqtt.Client("127.0.0.1", broker.port, username=device.kid.hex(), password=broker_password(downlink))
        try:
            await client.__aenter__()
        except aiomqtt.MqttError:
            assert time.monotonic() < deadline, "the broker never let the device in"
            await asyncio.sleep(0.1)
            continue
        break
    try:
        yield client
    finally:
        await client.__aexit__(None, None, None)


async def publish_until_acknowledged(
    broker: Mosquitto, device: Device, downlink: bytes, envelopes: list[bytes], expected: set[int]
) -> None:
    async with broker_client(broker, device, downlink) as client, asyncio.timeout(SECONDS):
        await client.subscribe(device.topic("down"), qos=1)
        for envelope in envelopes:
            await client.publish(device.topic("up"), envelope, qos=1)
        acknowledged: set[int] = set()
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            for first, last in parse_answer(message.payload, downlink).acknowledged:
                acknowledged.update(range(first, last + 1))
            if acknowledged >= expected:
                return


@contextlib.asynccontextmanager
async def signed_in(home: Home) -> AsyncIterator[AsyncClient]:
    client = AsyncClient(home.synapse.base_url, home.owner.user_id)
    await client.login(home.owner.password)
    try:
        yield client
    finally:
        await client.close()


async def room_called(client: AsyncClient, name: str) -> str:
    """Accept every invitation until the owner is in a room of that name."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        answer = await client.sync(timeout=500)
        assert isinstance(answer, SyncResponse), answer
        for room_id in list(client.invited_rooms):
            await client.join(room_id)
        for room_id, room in client.rooms.items():
            if room.name == name:
                return str(room_id)
    raise AssertionError(f"no room is called {name}; there are {[room.name for room in client.rooms.values()]}")


async def history(client: AsyncClient, room_id: str) -> list[dict[str, Any]]:
    """Every event of the room, newest first."""
    events: list[dict[str, Any]] = []
    start: str | None = client.next_batch
    while start:
        answer = await client.room_messages(room_id, start, limit=100)
        assert isinstance(answer, RoomMessagesResponse), answer
        events += [event.source for event in answer.chunk]
        start = answer.end if answer.chunk else None
    return events


async def events_of(
    client: AsyncClient, room_id: str, kind: str, enough: Callable[[list[dict[str, Any]]], bool]
) -> list[dict[str, Any]]:
    """The room's events of one type, oldest first, once there are `enough` of them."""
    deadline = time.monotonic() + SECONDS
    while True:
        await client.sync(timeout=500)
        events = [event for event in reversed(await history(client, room_id)) if event["type"] == kind]
        if enough(events):
            return events
        assert time.monotonic() < deadline, f"not enough {kind}: {events}"


def envelopes_in(events: list[dict[str, Any]]) -> list[bytes]:
    return [from_base64(text) for event in events for text in event["content"]["envelopes"]]


def from_base64(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def verified(envelope: bytes, cose_key: bytes) -> tuple[dict[int, Any], list[dict[int, Any]]]:
    """The protected header and the SenML records of an envelope, by RFC 9052 with PyNaCl and cbor2 alone."""
    tagged = cbor2.loads(envelope)
    assert tagged.tag == 18
    protected, unprotected, payload, signature = tagged.value
    assert unprotected == {}
    header = cbor2.loads(protected)
    assert header[1] == -19
    key = cbor2.loads(cose_key)
    assert (key[1], key[-1]) == (1, 6)
    # RFC 9679: the thumbprint is the SHA-256 of the required parameters in deterministic order.
    required = cbor2.dumps({1: 1, -1: 6, -2: key[-2]}, canonical=True)
    assert header[4] == hashlib.sha256(required).digest()[:8]
    VerifyKey(key[-2]).verify(cbor2.dumps(["Signature1", protected, b"", payload]), signature)
    return header, cbor2.loads(payload)


@pytest.mark.parametrize("room_version", ["12", "10"])
async def test_signed_readings_reach_a_room_on_synapse_and_verify_there(tmp_path: Path, room_version: str) -> None:
    async with running_home(tmp_path, room_version) as home:
        kitchen = Device("Kitchen")
        downlink = await enrol(home.gateway, kitchen)
        envelopes = [kitchen.climate(200 + number, 40 + number % 10) for number in range(40)]
        # Spoiled where the signature covers it, and once more what was sent before: neither may show in the room.
        forged = envelopes[3][:-70] + bytes([envelopes[3][-70] ^ 1]) + envelopes[3][-69:]
        sent = [*envelopes[:10], forged, envelopes[2], *envelopes[10:]]
        await publish_until_acknowledged(home.broker, kitchen, downlink, sent, set(range(1, 41)))

        async with signed_in(home) as client:
            room_id = await room_called(client, "Kitchen")
            events = await events_of(client, room_id, READINGS, lambda some: len(envelopes_in(some)) >= len(envelopes))

            state = await client.room_get_state(room_id)
            assert isinstance(state, RoomGetStateResponse)
            create = next(event for event in state.events if event["type"] == "m.room.create")
            assert create["content"]["room_version"] == room_version
            device = next(event for event in state.events if event["type"] == DEVICE)
            assert device["state_key"] == kitchen.kid.hex()
            assert (device["content"]["profile"], device["content"]["status"]) == ("climate", "active")
            levels = next(event for event in state.events if event["type"] == "m.room.power_levels")
            assert levels["content"]["users"][home.owner.user_id] == 100

            # The gateway's word for it counts for nothing here: the key and the envelopes are all in the room.
            key = from_base64(device["content"]["key"])
            seen: dict[int, list[dict[int, Any]]] = {}
            for event in events:
                assert event["sender"] == f"@thing_{kitchen.kid.hex()}:{SERVER_NAME}"
                assert event["content"]["device"] == kitchen.kid.hex()
                assert event["content"]["attested_by"] == "device"
                told = {(reading["sequence"], reading["name"]): reading for reading in event["content"]["readings"]}
                for text in event["content"]["envelopes"]:
                    header, records = verified(from_base64(text), key)
                    sequence = header[-65537]
                    assert sequence not in seen, f"sequence {sequence} is in the room twice"
                    seen[sequence] = records
                    assert told[sequence, "temperature"]["value"] == f"{records[0][2]:f}"
                    assert told[sequence, "temperature"]["unit"] == "Cel"
                    assert told[sequence, "humidity"]["value"] == str(records[1][2])
            assert sorted(seen) == list(range(1, 41))
            assert envelopes_in(events) == envelopes
            with pytest.raises(BadSignatureError):
                verified(forged, key)

            notices = await events_of(client, room_id, "m.room.message", lambda some: bool(some))
            assert all(event["content"]["msgtype"] == "m.notice" for event in notices)
            assert notices[0]["content"]["body"].startswith("Kitchen 2")
            members = await client.joined_members(room_id)
            assert isinstance(members, JoinedMembersResponse)
            assert {member.user_id: member.display_name for member in members.members}[
                f"@thing_{kitchen.kid.hex()}:{SERVER_NAME}"
            ] == "Kitchen"

        counters = (await home.gateway.ask("counters"))["counters"]
        assert counters["mqtt.accepted"] == len(envelopes)
        assert counters["mqtt.duplicate"] == 1
        assert counters["mqtt.rejected.bad_signature"] == 1
