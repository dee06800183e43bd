"""A person's view of the readings: Hydrogen, unpatched, in a real Chromium, against our homeserver and the reference.

The page and the homeserver have different origins, so every request here also goes through CORS. What Hydrogen asks
for (the r0 paths, a filter, device keys) is what it asks any homeserver for; `unexpected` lists the rest.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_asyncio
from tests.browser.browser_client import browser_client
from tests.browser.homeservers import Homeserver, running_reference, running_thingroom
from tests.browser.person import PASSWORD, new_person
from tests.flows.thingroom_run import Running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NUMBER_OF_OLD_READINGS = 30
# More than the 10 events that one /sync brings of a room where the client asks for no other number: it gets a gap.
NUMBER_OF_MISSED_READINGS = 35


def against(*homeservers: Callable[[Path], AbstractAsyncContextManager[Homeserver]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("homeserver", homeservers, indirect=True, scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeserver(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Homeserver]:
    async with request.param(tmp_path_factory.mktemp("homeserver")) as server:
        yield server


def unexpected(problems: list[dict[str, Any]], absent: str = "/dehydrated_device") -> list[dict[str, Any]]:
    """What went wrong in the page, less what goes wrong in Hydrogen with any homeserver.

    It asks for a dehydrated device (an unstable proposal that no homeserver offers any more) and takes 404 for no:
    `absent` is a pattern for paths where that is so. When a timeline is left in the very frame in which it was
    scrolled, `_setVisibleTileRange` runs once more without tiles.
    """

    def known(problem: dict[str, Any]) -> bool:
        match problem["kind"]:
            case "console":
                return bool(re.search(absent, problem["at"])) and "404" in problem["text"]
            case "status":
                return bool(re.search(absent, problem["path"])) and problem["status"] == 404
            case "exception":
                return "_setVisibleTileRange" in problem["text"] and "reading 'length'" in problem["text"]
        return False

    return [problem for problem in problems if not known(problem)]


@against(running_thingroom, running_reference)
async def test_readings_are_seen_by_the_person_who_was_invited(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor = await stack.enter_async_context(new_person(homeserver, "thing_kitchen", "Kitchen"))
        owner = await stack.enter_async_context(new_person(homeserver, "owner"))
        client = await stack.enter_async_context(browser_client(tmp_path, homeserver.base_url))

        await client.log_in("owner", PASSWORD)
        assert await client.rooms() == []

        room_id = await sensor.create_room(name="Kitchen", preset="private_chat", invite=[owner.user_id])
        for tenth in range(NUMBER_OF_OLD_READINGS):
            await sensor.notice(room_id, f"Kitchen {20 + tenth / 10:.1f} °C, 45 %")
            await sensor.send(room_id, "org.thingroom.readings", {"device": "0001", "envelopes": [], "readings": []})
        await client.wait_for_room("Kitchen")
        await client.accept_invite("Kitchen")
        await client.wait_for_message("Kitchen 22.9 °C, 45 %")

        await client.scroll_up_to("Kitchen 20.0 °C, 45 %")
        shown = await client.messages()
        assert [message.body for message in shown] == [
            f"Kitchen {20 + tenth / 10:.1f} °C, 45 %" for tenth in range(NUMBER_OF_OLD_READINGS)
        ]
        assert {message.sender for message in shown} == {"Kitchen"}

        await sensor.notice(room_id, "Kitchen 30.5 °C, 44 %")
        await client.wait_for_message("Kitchen 30.5 °C, 44 %")
        assert unexpected(await client.problems()) == []


@against(running_thingroom)
async def test_a_message_typed_in_the_browser_reaches_the_room(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor = await stack.enter_async_context(new_person(homeserver, "thing_lamp", "Lamp"))
        owner = await stack.enter_async_context(new_person(homeserver, "lamp_owner", "Ada"))
        room_id = await sensor.create_room(name="Lamp", preset="private_chat", invite=[owner.user_id])
        await owner.join(room_id)
        client = await stack.enter_async_context(browser_client(tmp_path, homeserver.base_url))
        await client.log_in("lamp_owner", PASSWORD)
        await client.open_room("Lamp")

        await client.send("!set lamp on")

        shown = (await client.messages())[-1]
        assert (shown.sender, shown.body) == ("Ada", "!set lamp on")
        assert shown.event_id is not None
        event = await sensor.event(room_id, shown.event_id)
        assert event["sender"] == owner.user_id
        assert event["content"] == {"msgtype": "m.text", "body": "!set lamp on"}
        assert unexpected(await client.problems()) == []


@against(running_thingroom, running_reference)
async def test_what_was_missed_while_the_page_was_closed_is_filled_in(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        sensor = await stack.enter_async_context(new_person(homeserver, "thing_hall", "Hall"))
        owner = await stack.enter_async_context(new_person(homeserver, "hall_owner"))
        rooms = [await sensor.create_room(name=name, invite=[owner.user_id]) for name in ("Hall", "Cellar")]
        for room_id in rooms:
            await owner.join(room_id)
        client = await stack.enter_async_context(browser_client(tmp_path, homeserver.base_url))
        await client.log_in("hall_owner", PASSWORD)
        assert sorted(await client.rooms()) == ["Cellar", "Hall"]
        await client.open_room("Hall")
        await sensor.notice(rooms[0], "Hall before")
        await client.wait_for_message("Hall before")

        await client.leave_page()
        for number in range(NUMBER_OF_MISSED_READINGS):
            await sensor.notice(rooms[0], f"Hall {number:03}")
        await client.come_back()
        await client.open_room("Hall")
        await client.wait_for_message(f"Hall {NUMBER_OF_MISSED_READINGS - 1:03}")
        await client.scroll_up_to("Hall before")

        missed = [f"Hall {number:03}" for number in range(NUMBER_OF_MISSED_READINGS)]
        assert [message.body for message in await client.messages()] == ["Hall before", *missed]
        asked = [(request["method"], unquote(request["path"].partition("?")[0])) for request in await client.requests()]
        assert asked.count(("POST", "/_matrix/client/r0/login")) == 1, "coming back needs no password"
        assert ("GET", f"/_matrix/client/r0/rooms/{rooms[0]}/messages") in asked, "there was a gap"
        assert unexpected(await client.problems()) == []


@against(running_thingroom)
async def test_a_wrong_password_is_refused_in_the_client_s_own_words(homeserver: Homeserver, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(new_person(homeserver, "careful"))
        client = await stack.enter_async_context(browser_client(tmp_path, homeserver.base_url))

        refusal = await client.log_in_refused("careful", "a wrong guess")

        assert "username and/or password" in refusal
        refused = [problem for problem in await client.problems() if problem["kind"] == "status"]
        assert [(problem["method"], problem["status"]) for problem in refused] == [("POST", 403)]
        await client.log_in("careful", PASSWORD)


async def test_the_readings_of_real_firmware_are_seen_in_the_browser(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        running = await stack.enter_async_context(Running(tmp_path / "home"))
        await running.until_printed("the first readings are in their Matrix room")
        client = await stack.enter_async_context(browser_client(tmp_path / "page", running.url))

        await client.log_in(*running.owner())
        for place in ("Home", "Kitchen", "Bedroom", "Garden"):
            await client.wait_for_room(place)
        for place in ("Kitchen", "Bedroom", "Garden"):
            first = first_reading_of(place, running.lines)
            await client.open_room(place)
            await client.wait_for_message(f"{place} {first}")
            assert {message.sender for message in await client.messages()} == {place}
        # A homeserver that nobody told its public address has none to publish.
        unpublished = "/dehydrated_device|/.well-known/matrix/client"
        assert unexpected(await client.problems(), absent=unpublished) == []


def first_reading_of(place: str, lines: list[str]) -> str:
    """What `thingroom run` printed of the device's first envelope, such as "21.1 °C, 53 %"."""
    found = (re.search(rf"✓ {place} +(.+?) +#1 ", line) for line in lines)
    return next(match[1] for match in found if match)
