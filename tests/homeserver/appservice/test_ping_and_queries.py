"""Ping, and rooms that an application service makes when they are asked for."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.homeserver.app_service import AppServiceProcess, as_client, make_ghost, write_registration
from tests.homeserver.running import RunningHomeserver, escape, make_config, running_homeserver

PING = "v1/appservice/gateway/ping"


@pytest.fixture
async def process() -> AsyncIterator[AppServiceProcess]:
    running = AppServiceProcess()
    async with running.up():
        yield running


@pytest.fixture
async def server(process: AppServiceProcess, tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    files = (write_registration(tmp_path, process.url),)
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as running:
        yield running


async def test_ping(server: RunningHomeserver, process: AppServiceProcess) -> None:
    bridge = as_client(server)
    answer = (await bridge.post(PING, {"transaction_id": "meow"})).ok()
    assert isinstance(answer["duration_ms"], int)
    (await bridge.post(PING)).ok()
    assert process.pings == [{"transaction_id": "meow"}, {}]


async def test_ping_errors(server: RunningHomeserver, process: AppServiceProcess) -> None:
    bridge = as_client(server)
    (await bridge.post("v1/appservice/other/ping")).is_error(403, "M_FORBIDDEN")
    alice = await server.register("alice")
    (await alice.post(PING)).is_error(403, "M_FORBIDDEN")
    (await server.client().post(PING)).is_error(401, "M_MISSING_TOKEN")
    process.status = 418
    answer = await bridge.post(PING)
    answer.is_error(502, "M_BAD_STATUS")
    assert answer.body["status"] == 418 and answer.body["body"] == "{}"


async def test_ping_of_what_is_not_there(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = (write_registration(tmp_path, f"http://127.0.0.1:{port}"),)
    async with running_homeserver(make_config(tmp_path / "a", appservice_files=files)) as server:
        (await as_client(server).post(PING)).is_error(502, "M_CONNECTION_FAILED")
    files = (write_registration(tmp_path, None),)
    async with running_homeserver(make_config(tmp_path / "b", appservice_files=files)) as server:
        (await as_client(server).post(PING)).is_error(400, "M_URL_NOT_SET")


async def test_a_room_is_made_when_its_alias_is_asked_for(
    server: RunningHomeserver, process: AppServiceProcess
) -> None:
    bridge = as_client(server)
    made = []

    async def make_room(name: str) -> bool:
        if name != "#thing_kitchen:localhost":
            return False
        body = {"preset": "public_chat", "room_alias_name": "thing_kitchen"}
        made.append((await bridge.post("v3/createRoom", body)).ok()["room_id"])
        return True

    process.on_query = make_room
    path = f"v3/directory/room/{escape('#thing_kitchen:localhost')}"
    assert (await server.client().get(path)).ok()["room_id"] == made[0]
    (await server.client().get(path)).ok()
    assert process.queried == ["#thing_kitchen:localhost"]
    unknown = await server.client().get(f"v3/directory/room/{escape('#thing_none:localhost')}")
    unknown.is_error(404, "M_NOT_FOUND")
    (await server.client().get(f"v3/directory/room/{escape('#other:localhost')}")).is_error(404, "M_NOT_FOUND")
    assert process.queried == ["#thing_kitchen:localhost", "#thing_none:localhost"]


async def test_a_ghost_is_made_when_it_is_asked_for(server: RunningHomeserver, process: AppServiceProcess) -> None:
    bridge = as_client(server)

    async def make(name: str) -> bool:
        if name != "@thing_lamp:localhost":
            return False
        await make_ghost(bridge, "thing_lamp")
        return True

    process.on_query = make
    queries = server.services.queries
    assert await queries.user_exists("@thing_lamp:localhost")
    assert not await queries.user_exists("@thing_none:localhost")
    assert not await queries.user_exists("@nobody:localhost")
    assert process.queried == ["@thing_lamp:localhost", "@thing_none:localhost"]


async def test_joining_and_inviting_ask_the_application_service(
    server: RunningHomeserver, process: AppServiceProcess
) -> None:
    bridge, alice = as_client(server), await server.register("alice")

    async def make(name: str) -> bool:
        if name == "@thing_lamp:localhost":
            await make_ghost(bridge, "thing_lamp")
        elif name == "#thing_hall:localhost":
            wish = {"preset": "public_chat", "power_level_content_override": {"invite": 0}}
            await bridge.post("v3/createRoom", wish | {"room_alias_name": "thing_hall"})
        else:
            return False
        return True

    process.on_query = make
    joined = (await alice.post(f"v3/join/{escape('#thing_hall:localhost')}")).ok()["room_id"]
    (await alice.post(f"v3/rooms/{escape(joined)}/invite", {"user_id": "@thing_lamp:localhost"})).ok()
    assert process.queried == ["#thing_hall:localhost", "@thing_lamp:localhost"]
    assert server.services.accounts.exists("@thing_lamp:localhost")
    (await alice.post("v3/createRoom", {"invite": ["@thing_none:localhost", "@thing_lamp:localhost"]})).ok()
    assert process.queried[2:] == ["@thing_none:localhost"]


async def test_a_reserved_alias_is_not_for_others(server: RunningHomeserver) -> None:
    alice = await server.register("alice")
    (await alice.post("v3/createRoom", {"room_alias_name": "thing_cellar"})).is_error(400, "M_EXCLUSIVE")
    (await as_client(server).post("v3/createRoom", {"room_alias_name": "thing_cellar"})).ok()
    assert (await alice.get("v3/joined_rooms")).ok() == {"joined_rooms": []}


async def test_a_silent_application_service_is_not_the_same_as_no_room(tmp_path: Path) -> None:
    process = AppServiceProcess()
    async with process.up():
        files = (write_registration(tmp_path, process.url),)
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
        alice = await server.register("alice")
        path = f"v3/directory/room/{escape('#thing_kitchen:localhost')}"
        (await alice.get(path)).is_error(408, "M_CONNECTION_TIMEOUT")
        (await alice.post(f"v3/join/{escape('#thing_kitchen:localhost')}")).is_error(408, "M_CONNECTION_TIMEOUT")
        (await alice.get(f"v3/directory/room/{escape('#kitchen:localhost')}")).is_error(404, "M_NOT_FOUND")
