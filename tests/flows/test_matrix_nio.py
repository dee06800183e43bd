"""matrix-nio, a client library of other people's, against the homeserver: two users through a room's whole life."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import nio
import pytest
from tests.homeserver.app_service import AppServiceProcess, as_client, make_ghost, write_registration
from tests.homeserver.running import PASSWORD, RunningHomeserver, escape, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(make_config(tmp_path / "data")) as running:
        yield running


@contextlib.asynccontextmanager
async def nio_client(server: RunningHomeserver, name: str) -> AsyncIterator[nio.AsyncClient]:
    """A registered and logged in nio client."""
    client = nio.AsyncClient(server.base_url, name)
    try:
        registered = await client.register(name, PASSWORD, f"{name}'s phone")
        assert isinstance(registered, nio.RegisterResponse), registered
        yield client
    finally:
        await client.close()


def good(response: Any, kind: type) -> Any:
    """The response, if it is of that kind; nio answers errors with values of other kinds."""
    assert isinstance(response, kind), response
    return response


async def synced(client: nio.AsyncClient) -> nio.SyncResponse:
    return good(await client.sync(timeout=0), nio.SyncResponse)


async def until(client: nio.AsyncClient, seen: Callable[[nio.SyncResponse], bool]) -> nio.SyncResponse:
    """Long-poll until an answer has what is looked for."""
    for _ in range(8):
        response = good(await client.sync(timeout=1000), nio.SyncResponse)
        if seen(response):
            return response
    pytest.fail("the sync never told of it")


def texts(response: nio.SyncResponse, room_id: str) -> list[str]:
    room = response.rooms.join.get(room_id)
    return [event.body for event in room.timeline.events if isinstance(event, nio.RoomMessageText)] if room else []


async def say(client: nio.AsyncClient, room_id: str, text: str) -> str:
    content = {"msgtype": "m.text", "body": text}
    return good(await client.room_send(room_id, "m.room.message", content), nio.RoomSendResponse).event_id


async def test_registering_logging_in_and_the_profile(server: RunningHomeserver) -> None:
    async with nio_client(server, "alice") as alice:
        assert good(await alice.whoami(), nio.WhoamiResponse).user_id == "@alice:localhost"
        good(await alice.set_displayname("Alice"), nio.ProfileSetDisplayNameResponse)
        good(await alice.set_avatar("mxc://localhost/alice"), nio.ProfileSetAvatarResponse)
        profile = good(await alice.get_profile("@alice:localhost"), nio.ProfileGetResponse)
        assert (profile.displayname, profile.avatar_url) == ("Alice", "mxc://localhost/alice")
        good(await alice.set_presence("online", "here"), nio.PresenceSetResponse)
        assert good(await alice.get_presence("@alice:localhost"), nio.PresenceGetResponse).status_msg == "here"
        devices = good(await alice.devices(), nio.DevicesResponse).devices
        assert [device.display_name for device in devices] == ["alice's phone"]
        again = nio.AsyncClient(server.base_url, "alice")
        good(await again.login(PASSWORD, "laptop"), nio.LoginResponse)
        assert len(good(await alice.devices(), nio.DevicesResponse).devices) == 2
        challenged = good(await alice.delete_devices([again.device_id]), nio.DeleteDevicesAuthResponse)
        auth = {
            "type": "m.login.password",
            "session": challenged.session,
            "identifier": {"type": "m.id.user", "user": "alice"},
            "password": PASSWORD,
        }
        good(await alice.delete_devices([again.device_id], auth), nio.DeleteDevicesResponse)
        assert isinstance(await again.whoami(), nio.WhoamiError)
        await again.close()
        wrong = nio.AsyncClient(server.base_url, "alice")
        assert good(await wrong.login("not the password"), nio.LoginError).status_code == "M_FORBIDDEN"
        await wrong.close()
        good(await alice.logout(), nio.LogoutResponse)


async def test_the_life_of_a_room(server: RunningHomeserver) -> None:
    async with nio_client(server, "alice") as alice, nio_client(server, "bob") as bob:
        await synced(alice)
        await synced(bob)
        created = await alice.room_create(
            name="Kitchen", topic="What the oven says", invite=["@bob:localhost"], alias="kitchen"
        )
        room_id = good(created, nio.RoomCreateResponse).room_id

        # Invite and join.
        response = await until(bob, lambda response: room_id in response.rooms.invite)
        names = [e.name for e in response.rooms.invite[room_id].invite_state if isinstance(e, nio.InviteNameEvent)]
        assert names == ["Kitchen"]
        good(await bob.join(room_id), nio.JoinResponse)
        await until(bob, lambda response: room_id in response.rooms.join)
        await until(alice, lambda _: set(alice.rooms[room_id].users) == {"@alice:localhost", "@bob:localhost"})
        assert alice.rooms[room_id].name == "Kitchen" and bob.rooms[room_id].topic == "What the oven says"

        # Messages, incremental sync, pages backwards.
        sent = [await say(alice, room_id, f"message {number}") for number in range(30)]
        response = await synced(bob)
        timeline = response.rooms.join[room_id].timeline
        received = texts(response, room_id)
        page_from = timeline.prev_batch
        assert timeline.limited
        while len(received) < 30:
            page = good(await bob.room_messages(room_id, page_from, limit=7), nio.RoomMessagesResponse)
            earlier = [event.body for event in page.chunk if isinstance(event, nio.RoomMessageText)]
            received = earlier[::-1] + received
            assert page.end != page_from
            page_from = page.end
        assert received == [f"message {number}" for number in range(30)]
        assert texts(await synced(bob), room_id) == []

        # Typing and receipts.
        await synced(alice)
        good(await bob.room_typing(room_id, True), nio.RoomTypingResponse)
        await until(alice, lambda _: alice.rooms[room_id].typing_users == ["@bob:localhost"])
        good(await bob.room_typing(room_id, False), nio.RoomTypingResponse)
        await until(alice, lambda _: alice.rooms[room_id].typing_users == [])
        good(await bob.update_receipt_marker(room_id, sent[-1], thread_id=None), nio.UpdateReceiptMarkerResponse)
        await until(alice, lambda _: "@bob:localhost" in alice.rooms[room_id].read_receipts)
        assert alice.rooms[room_id].read_receipts["@bob:localhost"].event_id == sent[-1]
        markers = await bob.room_read_markers(room_id, sent[-1], sent[-1])
        good(markers, nio.RoomReadMarkersResponse)
        await until(bob, lambda _: bob.rooms[room_id].fully_read_marker == sent[-1])

        # Redaction.
        good(await alice.room_redact(room_id, sent[0], "a slip"), nio.RoomRedactResponse)
        event = good(await bob.room_get_event(room_id, sent[0]), nio.RoomGetEventResponse).event
        assert isinstance(event, nio.RedactedEvent) and event.redacter == "@alice:localhost"

        # State.
        put = await alice.room_put_state(room_id, "m.room.topic", {"topic": "Bread"})
        good(put, nio.RoomPutStateResponse)
        state = good(await bob.room_get_state_event(room_id, "m.room.topic"), nio.RoomGetStateEventResponse)
        assert state.content["topic"] == "Bread"
        whole = good(await bob.room_get_state(room_id), nio.RoomGetStateResponse)
        assert {"m.room.create", "m.room.power_levels", "m.room.name"} <= {event["type"] for event in whole.events}
        refused = await bob.room_put_state(room_id, "m.room.topic", {"topic": "Cake"})
        assert good(refused, nio.RoomPutStateError).status_code == "M_FORBIDDEN"

        # Aliases.
        resolved = good(await bob.room_resolve_alias("#kitchen:localhost"), nio.RoomResolveAliasResponse)
        assert resolved.room_id == room_id
        good(await alice.room_put_alias("#oven:localhost", room_id), nio.RoomPutAliasResponse)
        good(await alice.room_delete_alias("#oven:localhost"), nio.RoomDeleteAliasResponse)
        assert isinstance(await bob.room_resolve_alias("#oven:localhost"), nio.RoomResolveAliasError)

        # Kick, ban, unban, leave, forget.
        await synced(bob)
        good(await alice.room_kick(room_id, "@bob:localhost", "out"), nio.RoomKickResponse)
        await until(bob, lambda response: room_id in response.rooms.leave)
        assert isinstance(await bob.room_send(room_id, "m.room.message", {"body": "x"}), nio.RoomSendError)
        good(await alice.room_ban(room_id, "@bob:localhost"), nio.RoomBanResponse)
        assert isinstance(await alice.room_invite(room_id, "@bob:localhost"), nio.RoomInviteError)
        good(await alice.room_unban(room_id, "@bob:localhost"), nio.RoomUnbanResponse)
        good(await alice.room_invite(room_id, "@bob:localhost"), nio.RoomInviteResponse)
        good(await bob.join("#kitchen:localhost"), nio.JoinResponse)
        good(await bob.room_leave(room_id), nio.RoomLeaveResponse)
        good(await bob.room_forget(room_id), nio.RoomForgetResponse)
        members = good(await alice.joined_members(room_id), nio.JoinedMembersResponse).members
        assert [member.user_id for member in members] == ["@alice:localhost"]


async def test_a_waiting_sync_gets_the_message_at_once(server: RunningHomeserver) -> None:
    async with nio_client(server, "alice") as alice, nio_client(server, "bob") as bob:
        created = await alice.room_create(preset=nio.RoomPreset.public_chat)
        room_id = good(created, nio.RoomCreateResponse).room_id
        good(await bob.join(room_id), nio.JoinResponse)
        await synced(bob)
        waiting = asyncio.create_task(bob.sync(timeout=60_000))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        started = time.monotonic()
        await say(alice, room_id, "dinner")
        response = good(await asyncio.wait_for(waiting, PATIENCE_SECONDS), nio.SyncResponse)
        assert texts(response, room_id) == ["dinner"]
        assert time.monotonic() - started < 30


async def test_a_ghost_in_a_room_with_a_nio_user_through_an_outage(tmp_path: Path) -> None:
    """The gateway's situation: it acts with ?user_id= and ?ts=, its listener goes away, the homeserver restarts."""
    process = AppServiceProcess()
    async with process.up():
        files = (write_registration(tmp_path, process.url),)
    config = make_config(tmp_path / "data", appservice_files=files)
    async with running_homeserver(config) as server, nio_client(server, "alice") as alice:
        token, user_id, device_id = alice.access_token, alice.user_id, alice.device_id
        bridge = as_client(server)
        ghost = await make_ghost(bridge, "thing_oven")
        body = {"preset": "private_chat", "invite": [user_id], "room_alias_name": "thing_kitchen"}
        room_id = (await bridge.post("v3/createRoom", body, user_id=ghost)).ok()["room_id"]
        good(await alice.join(room_id), nio.JoinResponse)
        path = f"v3/rooms/{escape(room_id)}/send/m.room.message"
        for number in range(5):
            notice = {"msgtype": "m.notice", "body": f"{number} °C"}
            (await bridge.put(f"{path}/{number}", notice, user_id=ghost, ts=1_700_000_000_000 + number)).ok()
        (await bridge.put(f"{path}/4", {"msgtype": "m.notice", "body": "again"}, user_id=ghost)).ok()
        response = await synced(alice)
        notices = [e for e in response.rooms.join[room_id].timeline.events if isinstance(e, nio.RoomMessageNotice)]
        assert [event.body for event in notices] == [f"{number} °C" for number in range(5)]
        assert [event.server_timestamp for event in notices] == [1_700_000_000_000 + number for number in range(5)]
        assert {event.sender for event in notices} == {ghost}
        await say(alice, room_id, "!set lamp on")
    assert process.accepted == {}

    async with running_homeserver(config) as server:
        alice = nio.AsyncClient(server.base_url, user_id)
        alice.restore_login(user_id, device_id, token)
        await say(alice, room_id, "!set lamp off")
        async with process.up():
            await process.until(lambda: process.bodies()[-2:] == ["!set lamp on", "!set lamp off"])
            await say(alice, room_id, "!chart")
            await process.until(lambda: process.bodies()[-1] == "!chart")
        await alice.close()
    spoken = [text for text in process.bodies() if text.startswith("!")]
    assert spoken == ["!set lamp on", "!set lamp off", "!chart"]
    assert [text for text in process.bodies() if text.endswith("°C")] == [f"{number} °C" for number in range(5)]
    event_ids = [event["event_id"] for event in process.events()]
    assert len(event_ids) == len(set(event_ids))
