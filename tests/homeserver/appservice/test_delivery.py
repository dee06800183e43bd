"""Events on their way to an application service: which ones, in order, and through every kind of trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.homeserver.app_service import AppServiceProcess, as_client, make_ghost, registration, write_registration
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

from thingroom_homeserver.accounts.appservices import load_appservices
from thingroom_homeserver.appservice_api import delivery
from thingroom_homeserver.appservice_api.interest import Interest, MemberChange
from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.core.event import Event


@pytest.fixture
async def process() -> AsyncIterator[AppServiceProcess]:
    running = AppServiceProcess()
    async with running.up():
        yield running


def config_for(process: AppServiceProcess, folder: Path, **changes: Any) -> HomeserverConfig:
    return make_config(folder / "data", appservice_files=(write_registration(folder, process.url, **changes),))


@pytest.fixture
async def server(process: AppServiceProcess, tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(config_for(process, tmp_path)) as running:
        yield running


async def say(client: MatrixClient, room_id: str, text: str, **query: Any) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{escape(text)}"
    return (await client.put(path, {"msgtype": "m.text", "body": text}, **query)).ok()["event_id"]


async def room_with_ghost(server: RunningHomeserver, alice: MatrixClient) -> tuple[str, str]:
    """A public room of alice's that a ghost joined: room id, ghost."""
    bridge = as_client(server)
    ghost = await make_ghost(bridge, "thing_a")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bridge.post(f"v3/join/{escape(room_id)}", {}, user_id=ghost)).ok()
    return room_id, ghost


async def test_it_hears_what_its_users_hear(server: RunningHomeserver, process: AppServiceProcess) -> None:
    alice = await server.register("alice")
    elsewhere = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    await say(alice, elsewhere, "not for it")
    room_id, ghost = await room_with_ghost(server, alice)
    await say(alice, room_id, "one")
    await say(as_client(server), room_id, "two", user_id=ghost)
    await process.until(lambda: process.bodies() == ["one", "two"])
    events = process.events()
    assert [event["type"] for event in events] == ["m.room.member", "m.room.message", "m.room.message"]
    assert {event["room_id"] for event in events} == {room_id}
    first = events[1]
    assert first["sender"] == alice.user_id and first["event_id"].startswith("$")
    assert first["unsigned"]["age"] >= 0


async def test_invites_and_kicks_of_its_users_reach_it(server: RunningHomeserver, process: AppServiceProcess) -> None:
    alice = await server.register("alice")
    bridge = as_client(server)
    ghost = await make_ghost(bridge, "thing_a")
    room_id = (await alice.post("v3/createRoom", {"preset": "private_chat", "invite": [ghost]})).ok()["room_id"]
    await process.until(lambda: len(process.events()) == 1)
    shown = process.events()[0]["unsigned"]["invite_room_state"]
    assert {event["type"] for event in shown} >= {"m.room.create", "m.room.join_rules", "m.room.member"}
    await say(alice, room_id, "before it joined")
    (await bridge.post(f"v3/join/{escape(room_id)}", {}, user_id=ghost)).ok()
    await say(alice, room_id, "while it was there")
    (await alice.post(f"v3/rooms/{escape(room_id)}/kick", {"user_id": ghost})).ok()
    await say(alice, room_id, "after it left")
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": ghost})).ok()
    await process.until(lambda: len(process.events()) == 5)
    found = [event["content"].get("membership") or event["content"]["body"] for event in process.events()]
    assert found == ["invite", "join", "while it was there", "leave", "invite"]


async def test_its_rooms_and_aliases_count_too(process: AppServiceProcess, tmp_path: Path) -> None:
    namespaces = {"aliases": [{"regex": "#thing_.*"}], "users": [], "rooms": []}
    async with running_homeserver(config_for(process, tmp_path, namespaces=namespaces)) as server:
        alice = await server.register("alice")
        room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
        await say(alice, room_id, "before the alias")
        alias = f"v3/directory/room/{escape('#thing_kitchen:localhost')}"
        await asyncio.sleep(0.1)
        (await as_client(server).put(alias, {"room_id": room_id})).ok()
        await say(alice, room_id, "after the alias")
        await process.until(lambda: process.bodies() == ["after the alias"])


async def test_many_events_come_in_few_transactions_in_order(
    server: RunningHomeserver, process: AppServiceProcess
) -> None:
    alice = await server.register("alice")
    room_id, _ = await room_with_ghost(server, alice)
    texts = [f"message {number:03}" for number in range(250)]
    for start in range(0, 250, 50):
        await asyncio.gather(*(say(alice, room_id, text) for text in texts[start : start + 50]))
    await process.until(lambda: len(process.bodies()) == 250)
    assert sorted(process.bodies()) == texts
    chunk: list[str] = []
    query: dict[str, Any] = {"dir": "b", "limit": 100}
    while True:
        page = (await alice.get(f"v3/rooms/{escape(room_id)}/messages", **query)).ok()
        chunk += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        if "end" not in page:
            break
        query["from"] = page["end"]
    assert process.bodies() == chunk[::-1]
    assert all(len(events) <= delivery.EVENTS_A_TRANSACTION for events in process.accepted.values())


async def test_a_refused_transaction_is_sent_again_unchanged(
    server: RunningHomeserver, process: AppServiceProcess
) -> None:
    alice = await server.register("alice")
    room_id, _ = await room_with_ghost(server, alice)
    await process.until(lambda: len(process.events()) == 1)
    process.status = 500
    await say(alice, room_id, "one")
    await process.until(lambda: len(process.requests) >= 2)
    await say(alice, room_id, "two")
    await process.until(lambda: len(process.requests) >= 3)
    process.status = 200
    await process.until(lambda: process.bodies() == ["one", "two"])
    tries = [body for number, body in process.requests if number == "2"]
    assert len(tries) >= 3 and len(set(tries)) == 1


async def test_down_for_a_while_with_restarts_in_between(tmp_path: Path) -> None:
    """Nothing is lost, doubled or out of order, whichever of the two was away."""
    process = AppServiceProcess()
    async with process.up():
        config = config_for(process, tmp_path)
        async with running_homeserver(config) as server:
            alice = await server.register("alice")
            room_id, ghost = await room_with_ghost(server, alice)
            await say(alice, room_id, "1 both up")
            await process.until(lambda: len(process.bodies()) == 1)
    async with running_homeserver(config) as server:
        alice = server.client(alice.token)
        await say(alice, room_id, "2 it is down")
        await asyncio.sleep(0.3)
        await say(as_client(server), room_id, "3 a ghost speaks", user_id=ghost)
    async with running_homeserver(config) as server:
        alice = server.client(alice.token)
        await say(alice, room_id, "4 after a restart")
        (await as_client(server).post(f"v3/rooms/{escape(room_id)}/leave", {}, user_id=ghost)).ok()
        await say(alice, room_id, "not for it: its ghost had left")
        async with process.up():
            await process.until(lambda: len(process.bodies()) == 4)
            room_id, _ = await room_with_another_ghost(server, alice)
            await say(alice, room_id, "5 both up again")
            await process.until(lambda: len(process.bodies()) == 5)
    async with process.up(), running_homeserver(config):
        await asyncio.sleep(0.2)
    assert [text[0] for text in process.bodies()] == ["1", "2", "3", "4", "5"]
    event_ids = [event["event_id"] for event in process.events()]
    assert len(event_ids) == len(set(event_ids))
    numbers = sorted(map(int, process.accepted))
    assert numbers == list(range(1, len(numbers) + 1))


async def room_with_another_ghost(server: RunningHomeserver, alice: MatrixClient) -> tuple[str, str]:
    bridge = as_client(server)
    ghost = await make_ghost(bridge, "thing_b")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bridge.post(f"v3/join/{escape(room_id)}", {}, user_id=ghost)).ok()
    return room_id, ghost


async def test_a_lost_acknowledgement_repeats_the_same_transaction(tmp_path: Path) -> None:
    """The server stops between sending and noting the answer: the same number comes again with the same body."""
    process = AppServiceProcess(status=500)
    async with process.up():
        config = config_for(process, tmp_path)
        async with running_homeserver(config) as server:
            alice = await server.register("alice")
            room_id, _ = await room_with_ghost(server, alice)
            await process.until(lambda: len(process.requests) >= 1)
            await say(alice, room_id, "later")
        process.status = 200
        async with running_homeserver(config):
            await process.until(lambda: process.bodies() == ["later"])
    first = {body for number, body in process.requests if number == "1"}
    assert len(first) == 1


async def test_changed_namespaces_start_from_what_is(tmp_path: Path) -> None:
    process = AppServiceProcess()
    async with process.up():
        narrow = {"users": [{"regex": "@nobody_.*"}]}
        async with running_homeserver(config_for(process, tmp_path, namespaces=narrow)) as server:
            alice = await server.register("alice")
            room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
            await say(alice, room_id, "before")
        wide = {"users": [{"regex": "@alice.*"}]}
        async with running_homeserver(config_for(process, tmp_path, namespaces=wide)) as server:
            await say(server.client(alice.token), room_id, "after")
            await process.until(lambda: process.bodies() == ["after"])


async def test_an_application_service_without_a_url_gets_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    config = make_config(tmp_path / "data", appservice_files=(write_registration(tmp_path, None),))
    async with running_homeserver(config) as server:
        alice = await server.register("alice")
        room_id, _ = await room_with_ghost(server, alice)
        await say(alice, room_id, "one")


MEMBERSHIPS = ("join", "leave", "invite", "ban")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["!a:x", "!b:x"]),
            st.sampled_from(["@thing_1:localhost", "@thing_2:localhost", "@alice:localhost"]),
            st.sampled_from([*MEMBERSHIPS, None]),
        ),
        max_size=30,
    ),
    st.integers(0, 30),
)
def test_a_walk_that_is_interrupted_finds_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, str | None]], stop: int
) -> None:
    """Walking on from the saved members decides as one walk does; interest is as the specification has it."""
    folder = tmp_path_factory.mktemp("interest")
    (appservice,) = load_appservices([write_registration(folder, None)], "localhost")
    events = [event_of(number, *step) for number, step in enumerate(steps)]
    whole = Interest(appservice, [], lambda _: [])
    decisions = [whole.step(event, members_of(event)) for event in events]
    saved: set[tuple[str, str]] = set()
    first = Interest(appservice, [], lambda _: [])
    for event in events[:stop]:
        apply(saved, first.step(event, members_of(event))[1])
    second = Interest(appservice, saved, lambda _: [])
    assert [second.step(event, members_of(event)) for event in events[stop:]] == decisions[stop:]
    joined: set[tuple[str, str]] = set()
    for event, (wanted, changes) in zip(events, decisions, strict=True):
        concerned = "thing_" in event.sender or "thing_" in (event.state_key or "")
        before = any(room_id == event.room_id for room_id, _ in joined)
        apply(joined, changes)
        assert wanted == (concerned or before)


def members_of(event: Event) -> list[tuple[str, bool]]:
    """What the event changes in a room that does not fork."""
    if event.type != "m.room.member" or event.state_key is None:
        return []
    return [(event.state_key, event.content.get("membership") == "join")]


def apply(members: set[tuple[str, str]], changes: list[MemberChange]) -> None:
    for change in changes:
        key = (change.room_id, change.user_id)
        members.add(key) if change.joined else members.discard(key)


def event_of(number: int, room_id: str, user_id: str, membership: str | None) -> Event:
    return Event(
        event_id=f"${number}",
        room_id=room_id,
        type="m.room.message" if membership is None else "m.room.member",
        state_key=None if membership is None else user_id,
        sender="@alice:localhost" if membership in ("invite", "ban") else user_id,
        content={} if membership is None else {"membership": membership},
        origin_server_ts=number,
        depth=number,
        auth_event_ids=(),
        prev_event_ids=(),
        redacts=None,
        unsigned={},
        pdu={},
        room_version="12",
    )


def test_the_registration_of_these_tests_is_exclusive() -> None:
    assert registration(None)["namespaces"]["users"][0]["exclusive"] is True
