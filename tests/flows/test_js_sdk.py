"""matrix-js-sdk, the library under Element, unpatched in Node, against our homeserver and the reference.

The other side of each conversation is a person who speaks plain HTTP. At the end of every flow nothing that the client
asked for was answered with an error, but for what the flow names.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.browser.homeservers import Homeserver, running_reference, running_thingroom
from tests.browser.person import PASSWORD, Person, new_person
from tests.browser.sdk_client import sdk_client
from tests.browser.worked_client import ClientFailed, WorkedClient
from tests.patience import PATIENCE_SECONDS

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
    """Requests of the client that were answered with an error: method, path, status.

    Left out is its question for a server of conference calls, an unstable proposal: 404 M_UNRECOGNIZED means none.
    """
    requests: list[dict[str, Any]] = await client.ask("requests")
    return [
        (each["method"], each["path"], each["status"])
        for each in requests
        if each["status"] >= 400
        and not (each["path"].endswith("/org.matrix.msc4143/rtc/transports") and '"M_UNRECOGNIZED"' in each["text"])
    ]


async def test_a_room_of_readings_is_synced_and_paged_to_its_beginning(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "kitchen")
        room_id = await sensor.create_room(name="Kitchen", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        sent = [await sensor.notice(room_id, f"Kitchen 21.{number} °C") for number in range(45)]

        await client.ask("log_in", username="kitchen_owner", password=PASSWORD)
        assert await client.ask("rooms") == [{"room_id": room_id, "name": "Kitchen", "membership": "join"}]
        newest = await client.ask("timeline", room_id=room_id)
        assert [event["event_id"] for event in newest] == sent[-10:]

        live = await sensor.notice(room_id, "Kitchen 22.0 °C")
        arrived = await client.ask("wait_for_message", room_id=room_id, text="Kitchen 22.0 °C")
        assert (arrived["event_id"], arrived["sender"]) == (live, sensor.user_id)

        events = await client.ask("paginate", room_id=room_id, limit=7)
        assert events[0]["type"] == "m.room.create"
        assert [event["event_id"] for event in events if event["type"] == "m.room.message"] == [*sent, live]
        assert len({event["event_id"] for event in events}) == len(events)
        members = await client.ask("members", room_id=room_id)
        assert members == {sensor.user_id: "Kitchen", owner.user_id: "Ada"}
        assert await refused(client) == []


async def test_what_the_client_sends_and_redacts_is_so_for_the_others(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "lamp")
        await client.ask("log_in", username="lamp_owner", password=PASSWORD)
        options = {"name": "Lamp", "topic": "By the door", "preset": "private_chat", "invite": [sensor.user_id]}
        room_id = await client.ask("create_room", options=options)
        await sensor.join(room_id)

        event_id = await client.ask("send", room_id=room_id, text="!set lamp on")
        newest = (await sensor.recent(room_id))[0]
        assert (newest["event_id"], newest["sender"]) == (event_id, owner.user_id)
        assert newest["content"] == {"msgtype": "m.text", "body": "!set lamp on"}
        assert await client.ask("state", room_id=room_id, type="m.room.topic", key="") is not None

        await client.ask("redact", room_id=room_id, event_id=event_id)
        assert (await sensor.event(room_id, event_id))["content"] == {}
        assert await refused(client) == []


async def test_an_invitation_is_shown_accepted_and_left(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "hall")
        await client.ask("log_in", username="hall_owner", password=PASSWORD)
        room_id = await sensor.create_room(name="Hall", preset="private_chat")
        await sensor.notice(room_id, "Hall 19.0 °C")
        await sensor.call("POST", f"rooms/{quote(room_id)}/invite", {"user_id": owner.user_id})

        await client.ask("wait_for_invite", room_id=room_id)
        assert await client.ask("rooms") == [{"room_id": room_id, "name": "Hall", "membership": "invite"}]
        await client.ask("join", room_id=room_id)
        await client.ask("wait_for_message", room_id=room_id, text="Hall 19.0 °C")
        await client.ask("leave", room_id=room_id)

        members = await sensor.call("GET", f"rooms/{quote(room_id)}/joined_members")
        assert list(members["joined"]) == [sensor.user_id]
        assert await refused(client) == []


async def test_receipts_typing_names_and_account_data_go_both_ways(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "porch")
        room_id = await sensor.create_room(name="Porch", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        event_id = await sensor.notice(room_id, "Porch 3.0 °C")
        await client.ask("log_in", username="porch_owner", password=PASSWORD)

        await client.ask("receipt", room_id=room_id, event_id=event_id)
        answer = await client.ask("send", room_id=room_id, text="brr")
        await sensor.call("POST", f"rooms/{quote(room_id)}/receipt/m.read/{quote(answer)}", {})
        await client.ask("wait_for_receipt", room_id=room_id, event_id=answer, user_id=sensor.user_id)

        await client.ask("typing", room_id=room_id)
        typing = f"rooms/{quote(room_id)}/typing/{quote(sensor.user_id)}"
        await sensor.call("PUT", typing, {"typing": True, "timeout": 10_000})
        await client.ask("wait_for_typing", room_id=room_id, user_id=sensor.user_id)

        await client.ask("set_display_name", name="Countess")
        profile = await sensor.call("GET", f"profile/{quote(owner.user_id)}/displayname")
        assert profile == {"displayname": "Countess"}
        stored = await client.ask("set_account_data", type="org.thingroom.test", content={"units": "metric"})
        assert stored == {"units": "metric"}
        assert await refused(client) == []


async def test_a_client_with_encryption_publishes_its_device_keys(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        sensor, owner, client = await people(stack, homeserver, "vault")
        signed_in = await client.ask("log_in", username="vault_owner", password=PASSWORD, crypto=True)
        await client.ask("wait_for_request", method="POST", path="/_matrix/client/v3/keys/upload")

        answer = await sensor.call("POST", "keys/query", {"device_keys": {owner.user_id: []}})
        device = answer["device_keys"][owner.user_id][signed_in["device_id"]]
        assert device["device_id"] == signed_in["device_id"]
        assert f"ed25519:{signed_in['device_id']}" in device["keys"]
        wanted = {owner.user_id: {signed_in["device_id"]: "signed_curve25519"}}
        claimed = await sensor.call("POST", "keys/claim", {"one_time_keys": wanted})
        assert len(claimed["one_time_keys"][owner.user_id][signed_in["device_id"]]) == 1
        # No backup of keys has been made, which is told by 404.
        assert set(await refused(client)) <= {("GET", "/_matrix/client/v3/room_keys/version", 404)}


async def backed_up(person: Person, keys: int) -> None:
    """Wait until the person's backup holds that many keys; clients take up to 10 s before they begin."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await person.call("GET", "room_keys/version"))["count"] < keys:
            await asyncio.sleep(0.2)


async def test_encrypted_messages_are_read_live_and_from_the_backup(homeserver: Homeserver) -> None:
    """Two users with the Rust crypto; then a second device of one, which has nothing but the recovery key."""
    async with AsyncExitStack() as stack:
        _sensor, ada, adas = await people(stack, homeserver, "safe")
        friend = await stack.enter_async_context(new_person(homeserver, "safe_friend"))
        friends = await stack.enter_async_context(sdk_client(homeserver.base_url))
        first = await adas.ask("log_in", username="safe_owner", password=PASSWORD, crypto=True)
        await friends.ask("log_in", username="safe_friend", password=PASSWORD, crypto=True)
        recovery_key = await adas.ask("set_up_encryption")
        await friends.ask("set_up_encryption")

        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        options = {"preset": "private_chat", "invite": [friend.user_id], "initial_state": [encryption]}
        room_id = await adas.ask("create_room", options=options)
        await friends.ask("wait_for_invite", room_id=room_id)
        await friends.ask("join", room_id=room_id)
        await adas.ask("wait_for_member", room_id=room_id, user_id=friend.user_id)
        sent = await adas.ask("send", room_id=room_id, text="The combination is 12")
        got = await friends.ask("wait_for_decrypted", room_id=room_id, text="The combination is 12")
        assert (got["event_id"], got["sender"], got["wire_type"]) == (sent, ada.user_id, "m.room.encrypted")
        assert "ciphertext" in (await ada.event(room_id, sent))["content"]
        await friends.ask("send", room_id=room_id, text="Noted")
        await adas.ask("wait_for_decrypted", room_id=room_id, text="Noted")
        await backed_up(ada, 2)

        tablet = await stack.enter_async_context(sdk_client(homeserver.base_url))
        second = await tablet.ask("log_in", username="safe_owner", password=PASSWORD, crypto=True)
        before = await friends.ask("encryption_status", **second)
        assert await tablet.ask("recover", recovery_key=recovery_key) == 2
        for text in ("The combination is 12", "Noted"):
            await tablet.ask("wait_for_decrypted", room_id=room_id, text=text)
        status = await tablet.ask("encryption_status", **first)
        assert status["ready"] and status["signed_by_owner"] and status["backup"] is not None
        # The friend sees that the new device was signed, and encrypts to it.
        await friends.ask("send", room_id=room_id, text="And the door?")
        await tablet.ask("wait_for_decrypted", room_id=room_id, text="And the door?")
        after = await friends.ask("encryption_status", **second)
        assert (before["signed_by_owner"], after["signed_by_owner"]) == (False, True)
        for client in (adas, friends, tablet):
            told = [(method, status) for method, path, status in await refused(client) if "room_keys" not in path]
            assert [each for each in told if each != ("GET", 404)] == []


async def test_signing_out_ends_the_session(homeserver: Homeserver) -> None:
    async with AsyncExitStack() as stack:
        _sensor, owner, client = await people(stack, homeserver, "attic")
        with pytest.raises(ClientFailed, match=r"\[403\]"):
            await client.ask("log_in", username="attic_owner", password="a wrong guess")
        signed_in = await client.ask("log_in", username="attic_owner", password=PASSWORD)
        before = [device["device_id"] for device in (await owner.call("GET", "devices"))["devices"]]
        await client.ask("log_out")
        after = [device["device_id"] for device in (await owner.call("GET", "devices"))["devices"]]
        assert signed_in["device_id"] in before
        assert signed_in["device_id"] not in after
