"""The bot and alerts on a homeserver that is not ours: Synapse with its default limits, matrix-nio as the owner.

What the owner does: asks, sets an alert, sees it begin and end, gets a chart and a pairing code, renames a device.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import nio
import pytest
from tests.flows.gateway_stack import Device
from tests.flows.test_gateway_on_synapse import (
    Home,
    enrol,
    events_of,
    publish_until_acknowledged,
    room_called,
    running_home,
    signed_in,
)
from tests.patience import PATIENCE_SECONDS

BOT = "@thingroom:synapse.test"


def messages(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["type"] == "m.room.message"]


class Conversation:
    """One room, and what the bot says there."""

    def __init__(self, client: nio.AsyncClient, room_id: str) -> None:
        self.client = client
        self.room_id = room_id
        self._heard: set[str] = set()

    async def ask(self, text: str) -> dict[str, Any]:
        """Say something; the content of the bot's answer."""
        await self.client.room_send(self.room_id, "m.room.message", {"msgtype": "m.text", "body": text})
        return await self.hear(BOT)

    async def hear(self, sender: str, msgtype: str = "") -> dict[str, Any]:
        """The next message of `sender` that was not heard yet."""

        def new(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                event
                for event in events
                if event["sender"] == sender
                and event["event_id"] not in self._heard
                and msgtype in ("", event["content"].get("msgtype"))
            ]

        events = await events_of(self.client, self.room_id, "m.room.message", lambda some: bool(new(some)))
        first = new(events)[0]
        self._heard.add(first["event_id"])
        return dict(first["content"])


@pytest.mark.parametrize("room_version", ["12", "10"])
async def test_living_with_it_on_synapse(tmp_path: Path, room_version: str) -> None:
    async with running_home(tmp_path, room_version) as home:
        kitchen = Device("Kitchen")
        downlink = await enrol(home.gateway, kitchen)

        async def reading(tenths: int) -> None:
            envelope = kitchen.climate(tenths, 45)
            expected = {kitchen.sequence}
            await publish_until_acknowledged(home.broker, kitchen, downlink, [envelope], expected)

        await reading(214)
        async with signed_in(home) as client:
            room = Conversation(client, await room_called(client, "Kitchen"))
            ghost = f"@thing_{kitchen.kid.hex()}:synapse.test"
            assert (await room.ask("!kitchen"))["body"] == "Kitchen: 21.4 °C, 45 %"
            set_ = await room.ask("!alert when temperature above 30")
            assert set_["body"].startswith("I will tell you here. Kitchen: Temperature above 30 °C")
            await reading(310)
            alert = await room.hear(ghost, "m.text")
            assert alert["body"] == "⚠️ Kitchen: Temperature is 31.0 °C, above 30 °C."
            assert alert["m.mentions"] == {"user_ids": [home.owner.user_id]}
            await reading(290)
            assert (await room.hear(ghost, "m.text"))["body"].startswith("✅ Kitchen: Temperature is 29.0 °C again")
            chart = await room.ask("!chart temperature 1h")
            assert chart["msgtype"] == "m.image" and chart["info"]["mimetype"] == "image/png"
            picture = await client.download(chart["url"])
            assert isinstance(picture, nio.DownloadResponse) and bytes(picture.body).startswith(b"\x89PNG")
            assert (await room.ask("!rename kitchen to Pantry"))["body"] == "Kitchen is Pantry now."
            await named(client, room.room_id, ghost, "Pantry")
            assert (await room.ask("!pair"))["body"] == "Pairing is open. You have the code in our direct chat."
            chat = Conversation(client, await room_called(client, "Thingroom"))
            assert "Type or scan this" in (await chat.hear(BOT))["body"]
            assert (await chat.hear(BOT))["msgtype"] == "m.image"
            assert (await chat.ask("devices"))["body"].startswith("Pantry: Temperature and humidity in Kitchen, online")
            await nobody_else_describes_devices(home, client, room.room_id, kitchen)


async def named(client: nio.AsyncClient, room_id: str, user: str, name: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        members = await client.joined_members(room_id)
        assert isinstance(members, nio.JoinedMembersResponse)
        if any((member.user_id, member.display_name) == (user, name) for member in members.members):
            return
        assert time.monotonic() < deadline, members


async def nobody_else_describes_devices(home: Home, client: nio.AsyncClient, room_id: str, device: Device) -> None:
    """Where the version has creators above all, even the owner may not write the state of devices."""
    version = home.synapse.settings.default_room_version
    if version != "12":
        return
    refused = await client.room_put_state(room_id, "org.thingroom.device", {"name": "Forged"}, device.kid.hex())
    assert isinstance(refused, nio.RoomPutStateError) and refused.status_code == "M_FORBIDDEN"
