"""matrix-js-sdk with its own simplified sliding sync, unpatched in Node, against our homeserver and the reference.

The same commands as in test_js_sdk.py; the client never asks for /v3/sync. At the end of every flow nothing that the
client asked for was answered with an error, but for what the flow names.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.browser.homeservers import Homeserver, running_reference, running_thingroom
from tests.browser.person import PASSWORD, Person, new_person
from tests.browser.sdk_client import sdk_client
from tests.browser.worked_client import WorkedClient

SLIDING = "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync"
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=[running_thingroom, running_reference])
async def homeserver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Homeserver]:
    async with request.param(tmp_path_factory.mktemp("homeserver")) as server:
        yield server


async def people(stack: AsyncExitStack, homeserver: Homeserver, name: str) -> tuple[Person, Person, WorkedClient]:
    """A sensor, an owner, and a client that is not signed in yet. `name` keeps the flows' accounts apart."""
    sensor = await stack.enter_async_context(new_person(homeserver, f"thing_{name}", name.title()))
    owner = await stack.enter_async_context(new_person(homeserver, f"{name}_owner", "Ada"))
    return sensor, owner, await stack.enter_async_context(sdk_client(homeserver.base_url))


async def refused(client: WorkedClient) -> list[tuple[str, str, int]]:
    """Requests that were answered with an error. There was sliding sync, and no other."""
    requests = await client.ask("requests")
    paths = {each["path"] for each in requests}
    assert SLIDING in paths and "/_matrix/client/v3/sync" not in paths
    return [
        (each["method"], each["path"], each["status"])
        for each in requests
        if each["status"] >= 400 and not each["path"].endswith("/org.matrix.msc4143/rtc/transports")
    ]


async def test_rooms_names_timelines_and_live_messages(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "kitchen")
        room_id = await sensor.create_room(name="The kitchen", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        sent = [await sensor.notice(room_id, f"Kitchen 21.{number} °C") for number in range(45)]
        nameless = await sensor.create_room(preset="private_chat", invite=[owner.user_id])
        await owner.join(nameless)

        await client.ask("log_in", username="kitchen_owner", password=PASSWORD, sliding=True)
        rooms = {room["room_id"]: (room["name"], room["membership"]) for room in await client.ask("rooms")}
        assert rooms == {room_id: ("The kitchen", "join"), nameless: ("Kitchen", "join")}
        assert [event["event_id"] for event in await client.ask("timeline", room_id=room_id)] == sent[-1:]

        live = await sensor.notice(room_id, "Kitchen 22.0 °C")
        arrived = await client.ask("wait_for_message", room_id=room_id, text="Kitchen 22.0 °C")
        assert (arrived["event_id"], arrived["sender"]) == (live, sensor.user_id)

        await client.ask("open_room", room_id=room_id, events=20)
        assert [event["event_id"] for event in await client.ask("timeline", room_id=room_id)] == [*sent[-19:], live]
        members = await client.ask("members", room_id=room_id)
        assert members == {sensor.user_id: "Kitchen", owner.user_id: "Ada"}
        events = await client.ask("paginate", room_id=room_id, limit=7)
        assert events[0]["type"] == "m.room.create"
        assert [event["event_id"] for event in events if event["type"] == "m.room.message"] == [*sent, live]
        assert len({event["event_id"] for event in events}) == len(events)
        assert await refused(client) == []


async def test_the_window_moves_and_rooms_rise_with_activity(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "house")
        rooms = [await sensor.create_room(name=f"Room {n}", invite=[owner.user_id]) for n in range(110)]
        for room_id in rooms:
            await owner.join(room_id)
        await client.ask("log_in", username="house_owner", password=PASSWORD, sliding=True)
        shown = {room["room_id"] for room in await client.ask("rooms")}
        assert shown == set(rooms[10:])

        await sensor.notice(rooms[3], "risen")
        assert await client.ask("wait_for_room", room_id=rooms[3]) == "Room 3"
        await client.ask("wait_for_message", room_id=rooms[3], text="risen")
        assert await client.ask("look_at_rooms", first=0, last=150, names=["Room 0", "Room 9"]) == 110
        assert {room["name"] for room in await client.ask("rooms")} == {f"Room {n}" for n in range(110)}
        assert await refused(client) == []


async def test_an_invitation_is_shown_and_accepted(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "hall")
        await client.ask("log_in", username="hall_owner", password=PASSWORD, sliding=True)
        room_id = await sensor.create_room(name="The hall", preset="private_chat")
        await sensor.notice(room_id, "Hall 19.0 °C")
        await sensor.call("POST", f"rooms/{quote(room_id)}/invite", {"user_id": owner.user_id})

        await client.ask("wait_for_invite", room_id=room_id)
        assert await client.ask("rooms") == [{"room_id": room_id, "name": "The hall", "membership": "invite"}]
        await client.ask("join", room_id=room_id)
        await client.ask("open_room", room_id=room_id, events=5)
        answer = await client.ask("send", room_id=room_id, text="Warm enough")
        assert (await sensor.recent(room_id))[0]["event_id"] == answer
        await sensor.notice(room_id, "Hall 20.0 °C")
        await client.ask("wait_for_message", room_id=room_id, text="Hall 20.0 °C")
        assert (await client.ask("counts", room_id=room_id))["joined"] == 2
        assert await refused(client) == []


async def test_receipts_typing_tags_counts_and_account_data(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "porch")
        room_id = await sensor.create_room(name="The porch", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        data = f"user/{quote(owner.user_id)}/account_data/org.thingroom.before"
        await owner.call("PUT", data, {"units": "imperial"})
        await client.ask("log_in", username="porch_owner", password=PASSWORD, sliding=True)
        assert await client.ask("wait_for_account_data", type="org.thingroom.before") == {"units": "imperial"}

        said = [await sensor.send(room_id, "m.room.message", {"msgtype": "m.text", "body": f"{n}"}) for n in range(3)]
        await client.ask("wait_for_message", room_id=room_id, text="2")
        counts = homeserver.name != "synapse"  # which says 0 to sliding syncs whatever is unread
        if counts:
            await client.ask("wait_for_unread", room_id=room_id, unread=3)
        await client.ask("receipt", room_id=room_id, event_id=said[-1])
        if counts:
            await client.ask("wait_for_unread", room_id=room_id, unread=0)
        answer = await client.ask("send", room_id=room_id, text="brr")
        await sensor.call("POST", f"rooms/{quote(room_id)}/receipt/m.read/{quote(answer)}", {})
        await client.ask("wait_for_receipt", room_id=room_id, event_id=answer, user_id=sensor.user_id)

        typing = f"rooms/{quote(room_id)}/typing/{quote(sensor.user_id)}"
        await sensor.call("PUT", typing, {"typing": True, "timeout": 10_000})
        await client.ask("wait_for_typing", room_id=room_id, user_id=sensor.user_id)
        tag = f"user/{quote(owner.user_id)}/rooms/{quote(room_id)}/tags/m.favourite"
        await owner.call("PUT", tag, {"order": 0.5})
        assert await client.ask("wait_for_tag", room_id=room_id, tag="m.favourite") == {"order": 0.5}
        stored = await client.ask("set_account_data", type="org.thingroom.test", content={"units": "metric"})
        assert stored == {"units": "metric"}
        assert await refused(client) == []


async def test_encrypted_messages_between_both_kinds_of_sync(homeserver: Homeserver) -> None:
    """To-device messages and device lists come by the extensions: keys get out of a sliding sync, and into one."""
    async with AsyncExitStack() as stack:
        _sensor, ada, slides = await people(stack, homeserver, "safe")
        friend = await stack.enter_async_context(new_person(homeserver, "safe_friend"))
        polls = await stack.enter_async_context(sdk_client(homeserver.base_url))
        await slides.ask("log_in", username="safe_owner", password=PASSWORD, crypto=True, sliding=True)
        await polls.ask("log_in", username="safe_friend", password=PASSWORD, crypto=True)

        options = {"preset": "private_chat", "invite": [friend.user_id], "initial_state": [ENCRYPTION]}
        room_id = await slides.ask("create_room", options=options)
        await polls.ask("wait_for_invite", room_id=room_id)
        await polls.ask("join", room_id=room_id)
        await slides.ask("open_room", room_id=room_id, events=2)
        await slides.ask("wait_for_member", room_id=room_id, user_id=friend.user_id)
        sent = await slides.ask("send", room_id=room_id, text="The combination is 12")
        got = await polls.ask("wait_for_decrypted", room_id=room_id, text="The combination is 12")
        assert (got["event_id"], got["sender"], got["wire_type"]) == (sent, ada.user_id, "m.room.encrypted")
        assert "ciphertext" in (await ada.event(room_id, sent))["content"]
        await polls.ask("send", room_id=room_id, text="Noted")
        got = await slides.ask("wait_for_decrypted", room_id=room_id, text="Noted")
        assert (got["sender"], got["wire_type"]) == (friend.user_id, "m.room.encrypted")

        # A device that comes later is heard of through the device lists, and gets the keys of what follows.
        tablet = await stack.enter_async_context(sdk_client(homeserver.base_url))
        await tablet.ask("log_in", username="safe_friend", password=PASSWORD, crypto=True, sliding=True)
        await tablet.ask("open_room", room_id=room_id, events=2)
        await slides.ask("send", room_id=room_id, text="And the door?")
        await tablet.ask("wait_for_decrypted", room_id=room_id, text="And the door?")
        no_backup = {("GET", "/_matrix/client/v3/room_keys/version", 404)}
        for client in (slides, tablet):
            assert set(await refused(client)) <= no_backup


async def test_a_client_whose_connection_was_forgotten_begins_anew(homeserver: Homeserver) -> None:
    """The same device begins a connection of the same name elsewhere: the client's position is unknown from then on."""
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "attic")
        room_id = await sensor.create_room(name="The attic", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        await client.ask("log_in", username="attic_owner", password=PASSWORD, sliding=True)
        await client.ask("forget_connection")
        await sensor.notice(room_id, "Attic 30.0 °C")
        await client.ask("wait_for_message", room_id=room_id, text="Attic 30.0 °C")
        await sensor.notice(room_id, "Attic 31.0 °C")
        await client.ask("wait_for_message", room_id=room_id, text="Attic 31.0 °C")
        assert {refusal[1:] for refusal in await refused(client)} == {(SLIDING, 400)}
