"""The same story on our homeserver and on the reference: what /sync answers at each turn is the same.

Each story is a function over Answers (sync_answers.py, which says what is not compared, and why).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio
from tests.browser.homeservers import Homeserver, running_thingroom
from tests.browser.person import new_person
from tests.flows.sync_answers import Answers
from tests.synapse_peer.server import SynapseSettings, running_synapse

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The reference tells the events of a commit to /sync a moment after it has answered.
MOMENT = 0.15
LAZY: dict[str, Any] = {"state": {"lazy_load_members": True}, "timeline": {"limit": 3}}
REDUNDANT: dict[str, Any] = {"state": {"lazy_load_members": True, "include_redundant_members": True}}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def homeservers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Homeserver, Homeserver]]:
    """Ours and the reference, which is told not to keep answers."""
    settings = SynapseSettings(extra={"caches": {"sync_response_cache_duration": 0}})
    async with (
        running_thingroom(tmp_path_factory.mktemp("ours")) as ours,
        running_synapse(tmp_path_factory.mktemp("reference"), settings) as synapse,
    ):
        secret = synapse.registration_shared_secret
        yield ours, Homeserver("synapse", synapse.base_url, settings.server_name, secret)


async def room_of(on: Answers, who: str, **options: Any) -> str:
    # Whether a preset forbids guests differs.
    guests = {"type": "m.room.guest_access", "state_key": "", "content": {"guest_access": "forbidden"}}
    options["initial_state"] = [*options.get("initial_state", []), guests]
    options.setdefault("preset", "public_chat")
    return on.name(await on.people[who].create_room(**options), "room")


async def gaps(on: Answers) -> None:
    room = await room_of(on, "ann", name="Kitchen", topic="Hot")
    await on.people["bob"].join(room)
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "first", filter={"room": {"timeline": {"limit": 2}}})
    await on.sync("ann", "nothing new")
    await on.say("bob", room, "one")
    await on.say("ann", room, "two")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "two messages")
    await on.people["ann"].call("PUT", f"rooms/{quote(room)}/state/m.room.name", {"name": "Hall"})
    for number in range(12):
        await on.say("bob", room, f"{number}")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "a gap", filter={"room": {"state": {"types": ["m.room.member"]}}})


async def lazy_loading(on: Answers) -> None:
    room = await room_of(on, "ann")
    for name in ("bob", "cat"):
        await on.people[name].join(room)
    for number in range(4):
        await on.say("bob", room, f"bob {number}")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "first", filter={"room": LAZY})
    for who in ("bob", "cat", "cat"):
        await on.say(who, room, f"{who} again")
        await asyncio.sleep(MOMENT)
        await on.sync("ann", f"{who} {len(on.answers)}", filter={"room": LAZY})
    await on.say("cat", room, "and again")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "redundant members", filter={"room": REDUNDANT})


async def kicked_and_banned(on: Answers) -> None:
    room = await room_of(on, "ann", name="Strict")
    for name in ("bob", "cat"):
        await on.people[name].join(room)
        await asyncio.sleep(MOMENT)
        await on.sync(name, f"{name} is in")
    for name, how in (("bob", "kick"), ("cat", "ban")):
        await on.people["ann"].call("POST", f"rooms/{quote(room)}/{how}", {"user_id": on.people[name].user_id})
        await asyncio.sleep(MOMENT)
    await on.sync("bob", "kicked")
    await on.sync("cat", "banned")
    await on.people["bob"].join(room)
    await on.say("ann", room, "welcome back")
    await asyncio.sleep(MOMENT)
    await on.sync("bob", "back")
    await on.sync("bob", "after that")
    await on.sync("cat", "anew", anew=True, filter={"room": {"include_leave": True, "timeline": {"limit": 20}}})


async def left_rooms(on: Answers) -> None:
    room = await room_of(on, "ann", name="Old")
    await on.people["bob"].join(room)
    await asyncio.sleep(MOMENT)
    await on.sync("bob", "first")
    await on.say("ann", room, "before")
    await on.people["bob"].call("POST", f"rooms/{quote(room)}/leave", {})
    await on.say("ann", room, "after")
    await asyncio.sleep(MOMENT)
    await on.sync("bob", "left")
    await on.sync("bob", "gone")
    await on.sync("bob", "anew", anew=True)
    archive: dict[str, Any] = {"include_leave": True, "timeline": {"limit": 2}}
    await on.sync("bob", "archived", anew=True, filter={"room": archive})
    await on.sync("bob", "archived, lazily", anew=True, filter={"room": archive | {"state": LAZY["state"]}})
    await on.people["bob"].call("POST", f"rooms/{quote(room)}/forget", {})
    await asyncio.sleep(MOMENT)
    await on.sync("bob", "forgotten", anew=True, filter={"room": archive})


async def invites_and_knocks(on: Answers) -> None:
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room = await room_of(on, "ann", preset="private_chat", name="Door", topic="Ring twice", initial_state=[rule])
    bob = on.people["bob"]
    invite, kick, leave = (f"rooms/{quote(room)}/{what}" for what in ("invite", "kick", "leave"))
    who = {"user_id": bob.user_id}
    await on.sync("bob", "first")
    for turn, (person, path, body) in enumerate(
        [
            (bob, f"knock/{quote(room)}", {"reason": "please"}),
            (bob, leave, {}),
            (bob, f"knock/{quote(room)}", {}),
            (on.people["ann"], invite, who | {"reason": "of course"}),
            (on.people["ann"], kick, who),
            (on.people["ann"], invite, who),
            (bob, leave, {}),
        ]
    ):
        await person.call("POST", path, body)
        await asyncio.sleep(MOMENT)
        await on.sync("bob", f"{turn}: {path.partition('/')[0]}")
        if path != kick:  # the reference tells the kicked of it even anew, which the specification does not ask for
            await on.sync("bob", f"{turn}: anew", anew=True)


async def filters(on: Answers) -> None:
    room = await room_of(on, "ann", name="Filtered")
    ann, bob = on.people["ann"].user_id, on.people["bob"].user_id
    await on.people["bob"].join(room)
    await on.say("ann", room, "text")
    await on.say("bob", room, "picture", url="mxc://example.org/picture")
    on.name(await on.people["ann"].send(room, "org.example.units", {"a": 1}), "custom")
    for path, content in (("", {"v": 1}), (f"rooms/{quote(room)}/", {"v": 2})):
        await on.people["ann"].call("PUT", f"user/{quote(ann)}/{path}account_data/org.example.units", content)
    await asyncio.sleep(MOMENT)
    wishes: dict[str, dict[str, Any]] = {
        "types": {"room": {"timeline": {"types": ["m.room.message"]}}},
        "glob": {"room": {"timeline": {"not_types": ["m.room.*"]}, "state": {"types": ["m.room.c*"]}}},
        "senders": {"room": {"timeline": {"senders": [bob]}, "state": {"not_senders": [ann]}}},
        "url": {"room": {"timeline": {"contains_url": True}}},
        # Not compared is not_rooms: the reference lets the create event of room version 12 through.
        "rooms": {"room": {"rooms": ["!nowhere:example.org"]}},
        "limit": {"room": {"timeline": {"limit": 1}}},
        "account data": {"account_data": {"types": ["org.*"]}, "room": {"account_data": {"not_types": ["org.*"]}}},
        "federation": {"event_format": "federation", "room": {"timeline": {"limit": 1}, "state": {"types": []}}},
    }
    for label, wish in wishes.items():
        await on.sync("ann", label, anew=True, filter=wish)
    # Hashes and signatures are each server's own.
    for event in on.answers["federation"]["rooms"]["join"]["<room>"]["timeline"]["events"]:
        for name in ("auth_events", "prev_events", "hashes", "signatures", "depth"):
            assert event.pop(name)


async def account_data_and_typing(on: Answers) -> None:
    room = await room_of(on, "ann", name="Data")
    await on.people["bob"].join(room)
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "first")
    await on.sync("bob", "first of the other")
    ann = quote(on.people["ann"].user_id)
    typing, tag = f"rooms/{quote(room)}/typing/{ann}", f"user/{ann}/rooms/{quote(room)}/tags/m.favourite"
    await on.people["ann"].call("PUT", f"user/{ann}/account_data/org.example.units", {"v": 1})
    await on.people["ann"].call("PUT", tag, {"order": 0.5})
    await on.people["ann"].call("PUT", typing, {"typing": True, "timeout": 20_000})
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "tagged and typing")
    await on.people["ann"].call("PUT", typing, {"typing": False})
    await on.people["ann"].call("DELETE", tag)
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "neither")
    message = await on.say("bob", room, "read me")
    await on.people["ann"].call(
        "POST", f"rooms/{quote(room)}/read_markers", {"m.fully_read": message, "m.read": message}
    )
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "read")
    await on.sync("bob", "seen to be read")


async def ignoring(on: Answers) -> None:
    room = await room_of(on, "ann", name="Quiet")
    await on.people["bob"].join(room)
    await on.say("bob", room, "before")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "first")
    ann, bob = on.people["ann"].user_id, on.people["bob"].user_id
    path = f"user/{quote(ann)}/account_data/m.ignored_user_list"
    await on.people["ann"].call("PUT", path, {"ignored_users": {bob: {}}})
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "ignored")
    await on.say("bob", room, "unheard")
    await on.people["bob"].create_room(invite=[ann])
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "silence")
    await on.sync("ann", "anew", anew=True)
    await on.people["ann"].call("PUT", path, {"ignored_users": {}})
    await on.say("bob", room, "heard")
    await asyncio.sleep(MOMENT)
    await on.sync("ann", "heard again")


@pytest.mark.parametrize(
    "story",
    [gaps, lazy_loading, kicked_and_banned, left_rooms, invites_and_knocks, filters, account_data_and_typing, ignoring],
)
async def test_the_same_story_is_told_alike(story: Any, homeservers: tuple[Homeserver, Homeserver]) -> None:
    told = []
    for homeserver in homeservers:
        async with AsyncExitStack() as stack:
            people = {
                name: await stack.enter_async_context(new_person(homeserver, f"{name}_{story.__name__}", name.title()))
                for name in ("ann", "bob", "cat")
            }
            on = Answers(homeserver, people)
            await story(on)
            told.append(on.answers)
    ours, theirs = told
    assert ours.keys() == theirs.keys()
    for label in theirs:
        assert ours[label] == theirs[label], label
