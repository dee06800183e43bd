"""The Rust SDK under Element X, unpatched, against our homeserver and the reference: it knows sliding sync only.

The other side of each conversation is a person who speaks plain HTTP, or matrix-js-sdk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.browser.homeservers import Homeserver, running_reference, running_thingroom
from tests.browser.person import PASSWORD, Person, new_person
from tests.browser.sdk_client import sdk_client
from tests.browser.worked_client import WorkedClient
from tests.patience import PATIENCE_SECONDS
from tests.rust_sdk.rust_client import rust_client

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[running_thingroom, running_reference])
async def homeserver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Homeserver]:
    async with request.param(tmp_path_factory.mktemp("homeserver")) as server:
        yield server


async def people(
    stack: AsyncExitStack, homeserver: Homeserver, folder: Path, name: str
) -> tuple[Person, Person, WorkedClient]:
    """A sensor, an owner, and a client that is not signed in yet. `name` keeps the flows' accounts apart."""
    sensor = await stack.enter_async_context(new_person(homeserver, f"thing_{name}", name.title()))
    owner = await stack.enter_async_context(new_person(homeserver, f"{name}_owner", "Ada"))
    return sensor, owner, await stack.enter_async_context(rust_client(homeserver.base_url, folder / name))


async def shows_rooms(client: WorkedClient, room_ids: list[str]) -> None:
    """The client's list has come to be in this order."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while [room["room_id"] for room in await client.ask("rooms")] != room_ids:
            await asyncio.sleep(0.05)


async def test_rooms_timelines_and_live_messages(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, tmp_path, "kitchen")
        room_id = await sensor.create_room(name="The kitchen", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        sent = [await sensor.notice(room_id, f"Kitchen 21.{number} °C") for number in range(45)]
        nameless = await sensor.create_room(preset="private_chat", invite=[owner.user_id])
        await owner.join(nameless)

        signed_in = await client.ask("log_in", username="kitchen_owner", password=PASSWORD)
        assert signed_in["sliding_sync"] == "NATIVE"
        await client.ask("wait_for_room", room_id=room_id, name="The kitchen")
        await client.ask("wait_for_room", room_id=nameless, name="Kitchen")
        await shows_rooms(client, [nameless, room_id])
        await client.ask("open_room", room_id=room_id)
        live = await sensor.notice(room_id, "Kitchen 22.0 °C")
        arrived = await client.ask("wait_for_message", room_id=room_id, text="Kitchen 22.0 °C")
        assert (arrived["event_id"], arrived["sender"]) == (live, sensor.user_id)
        await shows_rooms(client, [room_id, nameless])

        await client.ask("wait_for_beginning", room_id=room_id)
        messages = await client.ask("messages", room_id=room_id)
        assert [message["event_id"] for message in messages] == [*sent, live]
        members = await client.ask("members", room_id=room_id)
        assert members == {sensor.user_id: "Kitchen", owner.user_id: "Ada"}
        await client.ask("wait_for_info", room_id=room_id, joined=2, invited=0, encrypted="NOT_ENCRYPTED")


async def test_an_invitation_is_shown_accepted_and_left(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, tmp_path, "hall")
        await client.ask("log_in", username="hall_owner", password=PASSWORD)
        room_id = await sensor.create_room(name="The hall", preset="private_chat", invite=[owner.user_id])
        await sensor.notice(room_id, "Hall 19.0 °C")

        await client.ask("wait_for_room", room_id=room_id, membership="invited", name="The hall")
        await client.ask("join", room_id=room_id)
        await client.ask("wait_for_room", room_id=room_id)
        await client.ask("open_room", room_id=room_id)
        await client.ask("wait_for_message", room_id=room_id, text="Hall 19.0 °C")
        event_id = await client.ask("send", room_id=room_id, text="Warm enough")
        assert (await sensor.event(room_id, event_id))["content"]["body"] == "Warm enough"
        await client.ask("leave", room_id=room_id)
        members = await sensor.call("GET", f"rooms/{quote(room_id)}/joined_members")
        assert list(members["joined"]) == [sensor.user_id]


async def test_receipts_typing_reactions_and_tags(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, tmp_path, "porch")
        room_id = await sensor.create_room(name="The porch", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        room = f"rooms/{quote(room_id)}"
        await client.ask("log_in", username="porch_owner", password=PASSWORD)
        await client.ask("wait_for_room", room_id=room_id)
        await client.ask("open_room", room_id=room_id)
        said = await sensor.send(room_id, "m.room.message", {"msgtype": "m.text", "body": "Who rang?"})
        await client.ask("wait_for_message", room_id=room_id, text="Who rang?")
        await client.ask("wait_for_info", room_id=room_id, unread=1)
        await client.ask("read", room_id=room_id)
        await client.ask("wait_for_info", room_id=room_id, unread=0)
        answer = await client.ask("send", room_id=room_id, text="The cat")
        await sensor.call("POST", f"{room}/receipt/m.read/{quote(answer)}", {})
        await client.ask("wait_for_reader", room_id=room_id, text="The cat", user_id=sensor.user_id)

        annotation = {"rel_type": "m.annotation", "event_id": answer, "key": "🐈"}
        await sensor.send(room_id, "m.reaction", {"m.relates_to": annotation})
        await client.ask("wait_for_reaction", room_id=room_id, text="The cat", key="🐈", user_id=sensor.user_id)
        await client.ask("react", room_id=room_id, text="Who rang?", key="👍")
        await client.ask("wait_for_reaction", room_id=room_id, text="Who rang?", key="👍", user_id=owner.user_id)
        thumb = {"rel_type": "m.annotation", "event_id": said, "key": "👍"}
        async with asyncio.timeout(PATIENCE_SECONDS):
            while (await sensor.recent(room_id, 1))[0]["content"] != {"m.relates_to": thumb}:
                await asyncio.sleep(0.1)

        typing = f"{room}/typing/{quote(sensor.user_id)}"
        waiting = asyncio.create_task(client.ask("wait_for_typing", room_id=room_id, user_id=sensor.user_id))
        while not waiting.done():  # the client hears of what comes after it began to listen
            await sensor.call("PUT", typing, {"typing": False})
            await sensor.call("PUT", typing, {"typing": True, "timeout": 30_000})
            await asyncio.wait([waiting], timeout=1)
        await waiting
        tag = f"user/{quote(owner.user_id)}/{room}/tags/m.favourite"
        await owner.call("PUT", tag, {"order": 0.5})
        await client.ask("wait_for_info", room_id=room_id, favourite=True)


async def test_encrypted_messages_and_their_recovery(homeserver: Homeserver, tmp_path: Path) -> None:
    """With matrix-js-sdk over /v3/sync on the other side; then on a second device that has the recovery key only."""
    async with AsyncExitStack() as stack:
        _sensor, ada, phone = await people(stack, homeserver, tmp_path, "safe")
        friend = await stack.enter_async_context(new_person(homeserver, "safe_friend", "Grace"))
        friends = await stack.enter_async_context(sdk_client(homeserver.base_url))
        await phone.ask("log_in", username="safe_owner", password=PASSWORD)
        await friends.ask("log_in", username="safe_friend", password=PASSWORD, crypto=True)
        recovery_key = await phone.ask("set_up_recovery")

        room_id = await phone.ask("create_room", name="Safe", invite=[friend.user_id], encrypted=True)
        await phone.ask("wait_for_room", room_id=room_id, name="Safe")
        await phone.ask("open_room", room_id=room_id)
        await friends.ask("wait_for_invite", room_id=room_id)
        await friends.ask("join", room_id=room_id)
        await phone.ask("wait_for_info", room_id=room_id, joined=2, encrypted="ENCRYPTED")
        sent = await phone.ask("send", room_id=room_id, text="The combination is 12")
        got = await friends.ask("wait_for_decrypted", room_id=room_id, text="The combination is 12")
        assert (got["event_id"], got["sender"], got["wire_type"]) == (sent, ada.user_id, "m.room.encrypted")
        await friends.ask("send", room_id=room_id, text="Noted")
        assert (await phone.ask("wait_for_message", room_id=room_id, text="Noted"))["sender"] == friend.user_id

        tablet = await stack.enter_async_context(rust_client(homeserver.base_url, tmp_path / "tablet"))
        await tablet.ask("log_in", username="safe_owner", password=PASSWORD)
        await tablet.ask("wait_for_room", room_id=room_id, name="Safe")
        await tablet.ask("recover", recovery_key=recovery_key)
        assert await tablet.ask("verification_state") == "VERIFIED"
        await tablet.ask("open_room", room_id=room_id)
        for text in ("The combination is 12", "Noted"):
            await tablet.ask("wait_for_message", room_id=room_id, text=text)
        await friends.ask("send", room_id=room_id, text="And the door?")
        for client in (phone, tablet):
            await client.ask("wait_for_message", room_id=room_id, text="And the door?")


async def test_what_happened_while_the_client_was_away(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, tmp_path, "attic")
        room_id = await sensor.create_room(name="The attic", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        await client.ask("log_in", username="attic_owner", password=PASSWORD)
        await client.ask("wait_for_room", room_id=room_id)
        await client.ask("open_room", room_id=room_id)
        first = await sensor.notice(room_id, "Attic 30.0 °C")
        await client.ask("wait_for_message", room_id=room_id, text="Attic 30.0 °C")
        await client.ask("stop")
        missed = [await sensor.notice(room_id, f"Attic 31.{number} °C") for number in range(60)]
        await client.ask("start")
        await client.ask("wait_for_message", room_id=room_id, text="Attic 31.59 °C")
        await client.ask("wait_for_beginning", room_id=room_id)
        messages = await client.ask("messages", room_id=room_id)
        # The SDK may show a message twice; see client_process.py.
        assert list(dict.fromkeys(message["event_id"] for message in messages)) == [first, *missed]
