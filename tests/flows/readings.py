"""What a reader of a room does, with nothing of ours: matrix-nio for the room, PyNaCl and cbor2 for the proof."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import cbor2
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey
from nio import AsyncClient

SEQUENCE = -65537
PREDECESSOR = -65538


@dataclass(frozen=True)
class Proven:
    """An envelope of a room whose signature was checked."""

    device: str
    sequence: int
    predecessor: tuple[int, bytes] | None
    records: list[dict[int, Any]]
    event_id: str


def unpadded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4))


def prove(envelope: bytes, public_key: bytes, event_id: str = "") -> Proven:
    """Check one envelope by hand (RFC 9052 section 4.4). Raises BadSignatureError."""
    tag = cbor2.loads(envelope)
    assert tag.tag == 18
    protected, _, payload, signature = tag.value
    VerifyKey(public_key).verify(cbor2.dumps(["Signature1", protected, b"", payload]), signature)
    header = cbor2.loads(protected)
    before = header.get(PREDECESSOR)
    return Proven(header[4].hex(), header[SEQUENCE], tuple(before) if before else None, cbor2.loads(payload), event_id)


def is_forged(envelope: bytes, public_key: bytes) -> bool:
    try:
        prove(envelope, public_key)
    except BadSignatureError:
        return True
    return False


async def room_named(client: AsyncClient, name: str) -> str | None:
    """The joined room with this name, after a sync."""
    await client.sync(timeout=0, full_state=True)
    return next((room_id for room_id, room in client.rooms.items() if room.name == name), None)


async def device_keys(client: AsyncClient, room_id: str) -> dict[str, bytes]:
    """Key id to Ed25519 public key, from the room's state."""
    state = await client.room_get_state(room_id)
    return {
        event["state_key"]: cbor2.loads(unpadded(event["content"]["key"]))[-2]
        for event in state.events
        if event["type"] == "org.thingroom.device"
    }


async def timeline(client: AsyncClient, room_id: str) -> list[dict[str, Any]]:
    """Every event of a room, oldest first."""
    return [event async for event in newest_first(client, room_id)][::-1]


async def newest_first(client: AsyncClient, room_id: str) -> AsyncIterator[dict[str, Any]]:
    """Every event of a room by paginating back from the end."""
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=100"
    headers = {"Authorization": f"Bearer {client.access_token}"}
    start = ""
    while True:
        response = await client.send("GET", path + start, headers=headers)
        answer = await response.json()
        assert response.status == 200, answer
        for event in answer["chunk"]:
            yield event
        if not answer.get("end") or not answer["chunk"]:
            return
        start = f"&from={quote(answer['end'])}"


async def proven_readings(client: AsyncClient, room_id: str) -> list[Proven]:
    """Every envelope in a room, in the order of its events, each checked with the key in the room's state."""
    keys = await device_keys(client, room_id)
    return [
        prove(unpadded(text), keys[event["content"]["device"]], event["event_id"])
        for event in await timeline(client, room_id)
        if event["type"] == "org.thingroom.readings"
        for text in event["content"]["envelopes"]
    ]
