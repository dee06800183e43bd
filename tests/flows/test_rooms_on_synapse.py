"""Rooms on a homeserver that is not ours: live messages under real rate limits, pictures, full events, a device's life.

Synapse limits the gateway here as it limits people (`rate_limited: true`), only quicker than by default, so that the
test does not wait for minutes.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import nio
from tests.flows.gateway_stack import Device
from tests.flows.test_bot_on_synapse import BOT, Conversation, named
from tests.flows.test_gateway_on_synapse import (
    READINGS,
    Home,
    enrol,
    events_of,
    publish_until_acknowledged,
    room_called,
    running_home,
    signed_in,
)

from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record

SECONDS = 60.0
LIMITS = {"rc_message": {"per_second": 4, "burst_count": 6}}
NOTICES = {"live": ["*"], "live_seconds": 0.05}


def shown(events: list[dict[str, Any]], sender: str) -> list[list[str]]:
    """The notices of `sender` that stand there, each with its texts from the first to the newest edit."""
    found: dict[str, list[str]] = {}
    for event in events:
        content, relation = event["content"], event["content"].get("m.relates_to", {})
        if event["sender"] != sender or "body" not in content:
            continue
        if relation.get("rel_type") == "m.replace":
            found.setdefault(relation["event_id"], []).append(content["m.new_content"]["body"])
        else:
            found.setdefault(event["event_id"], []).append(content["body"])
    return [[text.rpartition(" (")[0] for text in texts] for texts in found.values()]


def sequences(events: list[dict[str, Any]]) -> list[int]:
    """Every sequence of each event's readings, once per event."""
    return [n for e in events for n in dict.fromkeys(reading["sequence"] for reading in e["content"]["readings"])]


async def test_rooms_on_synapse(tmp_path: Path) -> None:
    async with running_home(
        tmp_path, "12", rate_limited=True, synapse_extra=LIMITS, notices=NOTICES, batch={"seconds": 0.1}
    ) as home:
        kitchen, spare = Device("Kitchen"), Device("Spare")
        downlinks = {kitchen.kid: await enrol(home.gateway, kitchen), spare.kid: await enrol(home.gateway, spare)}

        async def publish(device: Device, *envelopes: bytes) -> None:
            last = device.sequence
            expected = set(range(last - len(envelopes) + 1, last + 1))
            await publish_until_acknowledged(home.broker, device, downlinks[device.kid], list(envelopes), expected)

        await publish(kitchen, kitchen.climate(200, 45))
        async with signed_in(home) as client:
            room_id = await room_called(client, "Kitchen")
            ghost = f"@thing_{kitchen.kid.hex()}:synapse.test"
            await live_under_limits(home, client, room_id, ghost, kitchen, publish)
            await full_events(client, room_id, kitchen, publish)
            await pictures(client, ghost)
            await the_life_of_a_device(client, room_id, kitchen, spare, publish)


async def live_under_limits(
    home: Home, client: nio.AsyncClient, room_id: str, ghost: str, kitchen: Device, publish: Any
) -> None:
    for tenths in range(201, 231):
        await publish(kitchen, kitchen.climate(tenths, 45))
    events = await events_of(
        client, room_id, "m.room.message", lambda some: shown(some, ghost)[-1:] != [] and
        shown(some, ghost)[-1][-1] == "Kitchen 23.0 °C, 45 %",
    )  # fmt: skip
    [texts] = shown(events, ghost)
    assert texts[0].startswith("Kitchen 20") and texts == sorted(texts), "one message, and its edits in order"
    assert len(texts) < 31, "what was outdated before it could be said was not said"
    batches = await events_of(client, room_id, READINGS, lambda some: len(sequences(some)) >= 31)
    assert sequences(batches) == list(range(1, 32)), "each reading once, and in order"
    first = next(event["event_id"] for event in events if event["sender"] == ghost)
    answer = await client.room_get_event(room_id, first)
    assert isinstance(answer, nio.RoomGetEventResponse)
    newest = answer.event.source["unsigned"]["m.relations"]["m.replace"]
    assert newest["content"]["m.new_content"]["body"].startswith("Kitchen 23.0 °C"), "Synapse aggregates the edits"
    # A person removes it: the next reading begins another.
    await client.room_redact(room_id, first)
    deadline = time.monotonic() + SECONDS
    tenths = 240
    while True:
        tenths += 1
        await publish(kitchen, kitchen.climate(tenths, 45))
        events = await events_of(client, room_id, "m.room.message", lambda some: bool(some))
        fresh = [
            e for e in events if e["sender"] == ghost and "m.relates_to" not in e["content"] and "body" in e["content"]
        ]
        if fresh and fresh[-1]["event_id"] != first:
            break
        assert time.monotonic() < deadline, shown(events, ghost)


async def full_events(client: nio.AsyncClient, room_id: str, kitchen: Device, publish: Any) -> None:
    """As many records as an envelope may have, and as many envelopes as arrive at once: nothing is parked."""
    now = time.time_ns() // 1_000_000
    records = [Record("temperature", "Cel", Decimal(214_123_456_789, -10), -1000 * n) for n in range(79, -1, -1)]
    dense = [kitchen.envelope(records, now) for _ in range(6)]
    assert min(map(len, dense)) > 2500
    await publish(kitchen, *dense, *(kitchen.climate(300, 45) for _ in range(150)))
    last = kitchen.sequence
    batches = await events_of(client, room_id, READINGS, lambda some: last in sequences(some)[-1:])
    assert sequences(batches) == list(range(1, last + 1))
    sizes = [len(json.dumps(event["content"], separators=(",", ":"), ensure_ascii=False)) for event in batches]
    assert 25_000 < max(sizes) < 60_000


async def pictures(client: nio.AsyncClient, ghost: str) -> None:
    uris = []
    for user in (ghost, BOT):
        answer = await client.get_avatar(user)
        assert isinstance(answer, nio.ProfileGetAvatarResponse) and answer.avatar_url, user
        picture = await client.download(answer.avatar_url)
        assert isinstance(picture, nio.DownloadResponse) and bytes(picture.body).startswith(b"\x89PNG")
        uris.append(answer.avatar_url)
    assert uris[0] != uris[1]


async def the_life_of_a_device(
    client: nio.AsyncClient, kitchen_room: str, kitchen: Device, spare: Device, publish: Any
) -> None:
    """Renamed, moved, its key replaced, revoked: what the rooms' state says each time, and who is in them."""
    ghost = f"@thing_{kitchen.kid.hex()}:synapse.test"
    room = Conversation(client, kitchen_room)
    assert (await room.ask("!rename kitchen to Pantry"))["body"] == "Kitchen is Pantry now."
    await named(client, kitchen_room, ghost, "Pantry")
    assert (await room.ask("!move pantry to Attic"))["body"].startswith("Pantry moves from Kitchen to Attic (a new")
    attic_room = await room_called(client, "Attic")
    await state_is(client, kitchen_room, kitchen, status="moved")
    await state_is(client, attic_room, kitchen, status="active", name="Pantry")
    await publish(kitchen, kitchen.climate(190, 45))
    events = await events_of(client, attic_room, READINGS, lambda some: kitchen.sequence in sequences(some))
    assert {event["sender"] for event in events} == {ghost}
    await gone(client, kitchen_room, ghost)

    await room_called(client, "Spare")
    chat_id = await direct_chat(client)
    chat = Conversation(client, chat_id)
    await chat.hear(BOT)
    assert "within five minutes" in (await chat.ask("replace pantry with spare"))["body"]
    assert (await chat.ask("yes"))["body"] == "Pantry has a new key now; the old one counts no more."
    await state_is(client, attic_room, spare, status="active", name="Pantry", replaces=kitchen.kid.hex())
    await state_is(client, attic_room, kitchen, status="revoked")
    await publish(spare, spare.climate(180, 45))
    successor = f"@thing_{spare.kid.hex()}:synapse.test"
    await events_of(client, attic_room, READINGS, lambda some: any(e["sender"] == successor for e in some))
    assert "within five minutes" in (await chat.ask("revoke pantry"))["body"]
    assert (await chat.ask("yes"))["body"].startswith("Pantry is revoked")
    await state_is(client, attic_room, spare, status="revoked")
    assert (await chat.ask("devices"))["body"].startswith("There are no devices here yet")


async def direct_chat(client: nio.AsyncClient) -> str:
    made = await client.room_create(is_direct=True, invite=[BOT], preset=nio.RoomPreset.trusted_private_chat)
    assert isinstance(made, nio.RoomCreateResponse), made
    return str(made.room_id)


async def state_is(client: nio.AsyncClient, room_id: str, device: Device, **wanted: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        answer = await client.room_get_state_event(room_id, "org.thingroom.device", device.kid.hex())
        content = answer.content if isinstance(answer, nio.RoomGetStateEventResponse) else {}
        if wanted.items() <= content.items():
            return
        assert time.monotonic() < deadline, (content, wanted)
        await asyncio.sleep(0.2)


async def gone(client: nio.AsyncClient, room_id: str, user: str) -> None:
    deadline = time.monotonic() + SECONDS
    while True:
        members = await client.joined_members(room_id)
        assert isinstance(members, nio.JoinedMembersResponse)
        if user not in {member.user_id for member in members.members}:
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
