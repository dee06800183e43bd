"""Networks behind application services: their metadata, look-ups in them, and their own room directories."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.homeserver.app_service import AS_TOKEN, AppServiceProcess, as_client, write_registration
from tests.homeserver.running import RunningHomeserver, escape, make_config, running_homeserver

IRC: dict[str, Any] = {
    "user_fields": ["network", "nickname"],
    "location_fields": ["network", "channel"],
    "icon": "mxc://localhost/irc",
    "field_types": {
        "network": {"regexp": "[a-z]+", "placeholder": "home"},
        "nickname": {"regexp": "\\S+", "placeholder": "bob"},
        "channel": {"regexp": "#\\S+", "placeholder": "#kitchen"},
    },
    "instances": [{"desc": "Home", "network_id": "home", "fields": {"network": "home"}}],
}
KITCHEN = {"alias": "#thing_kitchen:localhost", "protocol": "irc", "fields": {"channel": "#kitchen"}}
CELLAR = {"alias": "#other_cellar:localhost", "protocol": "irc", "fields": {"channel": "#kitchen"}}
BOB = {"userid": "@thing_bob:localhost", "protocol": "irc", "fields": {"nickname": "bob"}}


@pytest.fixture
async def networks() -> AsyncIterator[tuple[AppServiceProcess, AppServiceProcess]]:
    both = (AppServiceProcess(), AppServiceProcess())
    async with AsyncExitStack() as stack:
        for each in both:
            await stack.enter_async_context(each.up())
        yield both


@pytest.fixture
async def server(
    networks: tuple[AppServiceProcess, AppServiceProcess], tmp_path: Path
) -> AsyncIterator[RunningHomeserver]:
    other = {"id": "second", "as_token": "second token", "sender_localpart": "second", "namespaces": {}}
    files = (
        write_registration(tmp_path, networks[0].url, protocols=["irc", "radio"]),
        write_registration(tmp_path, networks[1].url, protocols=["irc"], **other),
        write_registration(tmp_path, None, **other | {"id": "third", "as_token": "3", "sender_localpart": "third"}),
    )
    async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as running:
        yield running


async def test_the_instances_of_all_application_services_are_one_protocol(
    server: RunningHomeserver, networks: tuple[AppServiceProcess, AppServiceProcess]
) -> None:
    one, two = networks
    alice = await server.register("alice")
    one.answers["protocol/irc"] = IRC
    two.answers["protocol/irc"] = IRC | {"instances": [{"desc": "Work", "network_id": "work", "fields": {}}]}
    found = (await alice.get("v3/thirdparty/protocols")).ok()
    assert set(found) == {"irc"}, "nobody answers for the other one"
    assert found["irc"] == IRC | {
        "instances": [
            {"desc": "Home", "network_id": "home", "fields": {"network": "home"}, "instance_id": "gateway|home"},
            {"desc": "Work", "network_id": "work", "fields": {}, "instance_id": "second|work"},
        ]
    }
    assert (await alice.get("v3/thirdparty/protocol/irc")).ok() == found["irc"]
    (await alice.get("v3/thirdparty/protocol/radio")).is_error(404, "M_NOT_FOUND")
    (await alice.get("v3/thirdparty/protocol/none")).is_error(404, "M_NOT_FOUND")
    (await server.client().get("v3/thirdparty/protocols")).is_error(401, "M_MISSING_TOKEN")
    assert [what for what, _ in two.asked] == ["protocol/irc"], "what a protocol is like is kept for a while"


async def test_everybody_who_speaks_the_protocol_is_asked(
    server: RunningHomeserver, networks: tuple[AppServiceProcess, AppServiceProcess]
) -> None:
    one, two = networks
    alice = await server.register("alice")
    one.answers |= {"location/irc": [KITCHEN], "user/irc": [BOB], "location": [KITCHEN], "user": [BOB]}
    two.answers |= {"location/irc": [CELLAR]}
    fields = {"network": "home", "channel": "#kitchen"}
    assert (await alice.get("v3/thirdparty/location/irc", **fields)).body == [KITCHEN, CELLAR]
    assert one.asked == two.asked == [("location/irc", fields)]
    assert (await alice.get("v3/thirdparty/user/irc", nickname="bob", access_token="x")).body == [BOB]
    assert one.asked[-1] == ("user/irc", {"nickname": "bob"})
    assert (await alice.get("v3/thirdparty/location", alias=KITCHEN["alias"])).body == [KITCHEN]
    assert one.asked[-1] == ("location", {"alias": KITCHEN["alias"]})
    assert (await alice.get("v3/thirdparty/user", userid=BOB["userid"])).body == [BOB]
    (await alice.get("v3/thirdparty/user")).is_error(400, "M_MISSING_PARAM")
    one.asked.clear()
    (await alice.get("v3/thirdparty/user/none", nickname="bob")).is_error(404, "M_NOT_FOUND")
    assert one.asked == []


@pytest.mark.parametrize(
    "wrong",
    [b"", b"[", b"{}", b'[{"alias": 5}]', b"[" * 100_000, b"\xff", b'"' + b"x" * 3_000_000 + b'"', [{}], [[]], None],
    ids=lambda value: repr(value)[:20],
)
async def test_wrong_answers_are_no_answers(
    server: RunningHomeserver, networks: tuple[AppServiceProcess, AppServiceProcess], wrong: Any
) -> None:
    one, two = networks
    alice = await server.register("alice")
    for what in ("location/irc", "user/irc", "protocol/irc"):
        one.answers[what] = wrong
    two.answers["location/irc"] = [CELLAR]
    assert (await alice.get("v3/thirdparty/location/irc")).body == [CELLAR]
    (await alice.get("v3/thirdparty/user/irc")).is_error(404, "M_NOT_FOUND")
    assert (await alice.get("v3/thirdparty/protocols")).ok() == {}


async def test_each_network_has_a_room_directory(server: RunningHomeserver) -> None:
    alice, bridge, second = await server.register("alice"), as_client(server), server.client("second token")
    names = {}
    for name in ("hall", "kitchen", "cellar"):
        made = await alice.post("v3/createRoom", {"name": name, "preset": "public_chat"})
        names[made.ok()["room_id"]] = name
    hall, kitchen, cellar = names
    (await alice.put(f"v3/directory/list/room/{escape(hall)}", {"visibility": "public"})).ok()
    public = {"visibility": "public"}
    (await bridge.put(f"v3/directory/list/appservice/home/{escape(kitchen)}", public)).ok()
    (await second.put(f"v3/directory/list/appservice/home/{escape(cellar)}", public)).ok()

    async def listed(**wanted: Any) -> set[str]:
        chunk = (await alice.post("v3/publicRooms", wanted)).ok()["chunk"]
        return {names[room["room_id"]] for room in chunk}

    assert await listed() == {"hall"}
    assert await listed(third_party_instance_id="gateway|home") == {"kitchen"}
    assert await listed(third_party_instance_id="second|home") == {"cellar"}
    assert await listed(third_party_instance_id="second|none") == set()
    assert await listed(include_all_networks=True) == {"hall", "kitchen", "cellar"}
    assert await listed(include_all_networks=True, filter={"generic_search_term": "cell"}) == {"cellar"}
    both = {"include_all_networks": True, "third_party_instance_id": "second|home"}
    (await alice.post("v3/publicRooms", both)).is_error(400, "M_INVALID_PARAM")
    (await bridge.put(f"v3/directory/list/appservice/home/{escape(kitchen)}", {"visibility": "private"})).ok()
    assert await listed(include_all_networks=True) == {"hall", "cellar"}

    (await alice.put(f"v3/directory/list/appservice/home/{escape(hall)}", public)).is_error(403, "M_FORBIDDEN")
    path = f"v3/directory/list/appservice/home/{escape('!none:localhost')}"
    (await bridge.put(path, public)).is_error(404, "M_NOT_FOUND")
    (await bridge.put(f"v3/directory/list/appservice/home/{escape(hall)}", {})).is_error(400, "M_MISSING_PARAM")
    wrong = {"visibility": "secret"}
    (await bridge.put(f"v3/directory/list/appservice/home/{escape(hall)}", wrong)).is_error(400, "M_INVALID_PARAM")


async def test_an_old_application_service_is_asked_under_old_paths(tmp_path: Path) -> None:
    old = AppServiceProcess(is_old=True, answers={"protocol/irc": IRC, "user/irc": [BOB]})
    async with old.up():
        files = (write_registration(tmp_path, old.url, protocols=["irc"]),)
        async with running_homeserver(make_config(tmp_path / "data", appservice_files=files)) as server:
            alice, bridge = await server.register("alice"), as_client(server)
            assert bridge.token == AS_TOKEN
            assert set((await alice.get("v3/thirdparty/protocols")).ok()) == {"irc"}
            assert (await alice.get("v3/thirdparty/user/irc", nickname="bob")).body == [BOB]
            assert not await server.services.queries.user_exists("@thing_none:localhost")
            assert old.queried == ["@thing_none:localhost"]
            (await alice.post("v3/createRoom", {"invite": ["@thingbot:localhost"]})).ok()
            await old.until(lambda: len(old.events()) == 1)
