"""Relations over HTTP: what events are shown with, what is refused, threads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from tests.homeserver.running import MatrixClient, escape


async def make_room(client: MatrixClient, *others: MatrixClient) -> str:
    room = (await client.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    for other in others:
        (await other.post(f"v3/join/{escape(room)}")).ok()
    return room


_numbers = iter(range(10**9))


async def send(client: MatrixClient, room: str, body: str, relates: dict[str, Any] | None = None, **more: Any) -> str:
    content = {"msgtype": "m.text", "body": body, **more} | ({"m.relates_to": relates} if relates else {})
    path = f"v3/rooms/{escape(room)}/send/m.room.message/{next(_numbers)}"
    return (await client.put(path, content)).ok()["event_id"]


async def edit(client: MatrixClient, room: str, event_id: str, body: str) -> str:
    relation = {"rel_type": "m.replace", "event_id": event_id}
    return await send(client, room, f"* {body}", relation, **{"m.new_content": {"msgtype": "m.text", "body": body}})


async def reply(client: MatrixClient, room: str, root: str, body: str) -> str:
    return await send(client, room, body, {"rel_type": "m.thread", "event_id": root})


async def redact(client: MatrixClient, room: str, event_id: str) -> None:
    (await client.put(f"v3/rooms/{escape(room)}/redact/{escape(event_id)}/{next(_numbers)}")).ok()


async def relations_of(client: MatrixClient, room: str, event_id: str) -> dict[str, Any]:
    event = (await client.get(f"v3/rooms/{escape(room)}/event/{escape(event_id)}")).ok()
    return event["unsigned"].get("m.relations", {})


async def ignore(client: MatrixClient, *user_ids: str) -> None:
    content = {"ignored_users": {user_id: {} for user_id in user_ids}}
    path = f"v3/user/{escape(client.user_id)}/account_data/m.ignored_user_list"
    (await client.put(path, content)).ok()


async def test_edits_show_the_latest_valid_one(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, bob)
    original = await send(alice, room, "helo")
    assert await relations_of(bob, room, original) == {}
    first = await edit(alice, room, original, "hello")
    await asyncio.sleep(0.005)  # of two in the same millisecond the event ids decide
    last = await edit(alice, room, original, "hello!")
    await edit(bob, room, original, "somebody else's")
    await send(alice, room, "* no new content", {"rel_type": "m.replace", "event_id": original})
    shown = (await relations_of(bob, room, original))["m.replace"]
    assert shown["event_id"] == last and shown["content"]["m.new_content"]["body"] == "hello!"
    assert shown["room_id"] == room and shown["sender"] == alice.user_id
    await edit(alice, room, last, "an edit of an edit")
    assert await relations_of(bob, room, last) == {}
    await redact(alice, room, last)
    assert (await relations_of(bob, room, original))["m.replace"]["event_id"] == first
    await redact(alice, room, original)
    assert await relations_of(bob, room, original) == {}


async def test_aggregations_stand_wherever_events_are_served(alice: MatrixClient) -> None:
    room = await make_room(alice)
    root = await send(alice, room, "root")
    reference = await send(alice, room, "see", {"rel_type": "m.reference", "event_id": root})
    answer = await reply(alice, room, root, "in the thread")
    newer = await edit(alice, room, answer, "in the thread, edited")
    base = f"v3/rooms/{escape(room)}"
    limited = json.dumps({"room": {"timeline": {"limit": 5}}})
    timeline = (await alice.get("v3/sync", filter=limited)).ok()["rooms"]["join"][room]["timeline"]
    assert timeline["limited"]
    served = {
        "sync": timeline["events"],
        "messages": (await alice.get(f"{base}/messages", dir="b", limit=50)).ok()["chunk"],
        "event": [(await alice.get(f"{base}/event/{escape(root)}")).ok()],
        "context": [(await alice.get(f"{base}/context/{escape(root)}")).ok()["event"]],
        "around": (await alice.get(f"{base}/context/{escape(reference)}", limit=9)).ok()["events_before"],
        "threads": (await alice.get(f"v1/rooms/{escape(room)}/threads")).ok()["chunk"],
    }
    for name, events in served.items():
        relations = next(event for event in events if event["event_id"] == root)["unsigned"]["m.relations"]
        assert relations["m.reference"] == {"chunk": [{"event_id": reference}]}, name
        thread = relations["m.thread"]
        assert (thread["count"], thread["current_user_participated"]) == (1, True)
        latest = thread["latest_event"]
        assert latest["event_id"] == answer and latest["room_id"] == room
        assert latest["unsigned"]["m.relations"]["m.replace"]["event_id"] == newer
    related = (await alice.get(f"v1/rooms/{escape(room)}/relations/{escape(root)}")).ok()["chunk"]
    assert [event["event_id"] for event in related] == [answer, reference]
    assert related[0]["unsigned"]["m.relations"]["m.replace"]["event_id"] == newer


async def test_the_same_annotation_twice_is_refused(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, bob)
    event_id = await send(alice, room, "nice?")
    base = f"v3/rooms/{escape(room)}/send"
    like = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "👍"}}
    first = (await alice.put(f"{base}/m.reaction/1", like)).ok()["event_id"]
    assert (await alice.put(f"{base}/m.reaction/1", like)).ok()["event_id"] == first
    (await alice.put(f"{base}/m.reaction/2", like)).is_error(400, "M_DUPLICATE_ANNOTATION")
    other = {"m.relates_to": {**like["m.relates_to"], "key": "👎"}}
    (await alice.put(f"{base}/m.reaction/3", other)).ok()
    (await alice.put(f"{base}/org.example.reaction/4", like)).ok()
    (await bob.put(f"{base}/m.reaction/5", like)).ok()
    await redact(alice, room, first)
    (await alice.put(f"{base}/m.reaction/6", like)).ok()
    assert await relations_of(alice, room, event_id) == {}


async def test_threads_are_listed_by_their_latest_event(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, bob)
    base = f"v1/rooms/{escape(room)}/threads"
    assert (await alice.get(base)).ok() == {"chunk": []}
    roots = [await send(alice, room, f"root {number}") for number in range(3)]
    for root in roots:
        await reply(alice, room, root, "first")
    last = await reply(bob, room, roots[0], "bump")
    listed = (await bob.get(base, limit=2)).ok()
    assert [event["event_id"] for event in listed["chunk"]] == [roots[0], roots[2]]
    rest = (await bob.get(base, limit=2, **{"from": listed["next_batch"]})).ok()
    assert [event["event_id"] for event in rest["chunk"]] == [roots[1]] and "next_batch" not in rest
    own = (await bob.get(base, include="participated")).ok()["chunk"]
    assert [event["event_id"] for event in own] == [roots[0]]
    assert own[0]["unsigned"]["m.relations"]["m.thread"]["count"] == 2
    nested = {"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": last}}
    (await bob.put(f"v3/rooms/{escape(room)}/send/m.room.message/nested", nested)).is_error(400, "M_UNKNOWN")
    await redact(bob, room, last)
    listed = (await bob.get(base)).ok()["chunk"]
    assert [event["event_id"] for event in listed] == [roots[2], roots[1], roots[0]]
    (await bob.get(base, include="none")).is_error(400, "M_INVALID_PARAM")
    (await bob.get(base, limit=0)).is_error(400, "M_INVALID_PARAM")
    (await bob.get(base, **{"from": "x"})).is_error(400, "M_INVALID_PARAM")


async def test_a_thread_without_events_is_none(alice: MatrixClient) -> None:
    room = await make_room(alice)
    root = await send(alice, room, "root")
    await redact(alice, room, await reply(alice, room, root, "only"))
    assert (await alice.get(f"v1/rooms/{escape(room)}/threads")).ok() == {"chunk": []}
    assert await relations_of(alice, room, root) == {}


async def test_ignored_users_do_not_count(alice: MatrixClient, bob: MatrixClient) -> None:
    alice.sends_odd_events = True  # a root of an ignored sender is shown redacted
    room = await make_room(alice, bob)
    root, theirs = await send(alice, room, "root"), await send(bob, room, "their root")
    mine = await reply(alice, room, root, "mine")
    await reply(bob, room, root, "theirs")
    await send(bob, room, "see", {"rel_type": "m.reference", "event_id": root})
    await reply(alice, room, theirs, "mine too")
    await edit(bob, room, theirs, "edited")
    await ignore(alice, bob.user_id)
    relations = await relations_of(alice, room, root)
    assert relations["m.thread"]["count"] == 1 and relations["m.thread"]["latest_event"]["event_id"] == mine
    assert "m.reference" not in relations
    listed = {event["event_id"]: event for event in (await alice.get(f"v1/rooms/{escape(room)}/threads")).ok()["chunk"]}
    assert listed[theirs]["content"] == {} and "m.replace" not in listed[theirs]["unsigned"]["m.relations"]
    assert (await relations_of(bob, room, root))["m.thread"]["count"] == 2


async def test_nothing_of_another_room_is_aggregated(alice: MatrixClient, bob: MatrixClient) -> None:
    room, other = await make_room(alice), await make_room(bob)
    root = await send(alice, room, "root")
    await reply(bob, other, root, "from outside")
    await send(bob, other, "see", {"rel_type": "m.reference", "event_id": root})
    assert await relations_of(alice, room, root) == {}
    assert (await alice.get(f"v1/rooms/{escape(room)}/relations/{escape(root)}")).ok()["chunk"] == []
    assert (await bob.get(f"v1/rooms/{escape(other)}/threads")).ok()["chunk"] == []


async def test_what_happened_out_of_sight_is_not_aggregated(alice: MatrixClient, bob: MatrixClient) -> None:
    hidden = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    wish = {"preset": "public_chat", "initial_state": hidden}
    room = (await alice.post("v3/createRoom", wish)).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room)}")).ok()
    root = await send(alice, room, "root")
    (await bob.post(f"v3/rooms/{escape(room)}/leave")).ok()
    await reply(alice, room, root, "unseen")
    await edit(alice, room, root, "unseen")
    assert await relations_of(bob, room, root) == {}


@pytest.mark.parametrize("direction", ["b", "f"])
async def test_indirect_relations(alice: MatrixClient, direction: str) -> None:
    room = await make_room(alice)
    root = await send(alice, room, "root")
    first = await reply(alice, room, root, "one")
    second = await edit(alice, room, first, "two")
    third = await send(alice, room, "three", {"rel_type": "m.reference", "event_id": second})
    fourth = await send(alice, room, "too deep", {"rel_type": "m.reference", "event_id": third})
    base = f"v1/rooms/{escape(room)}/relations/{escape(root)}"
    direct = (await alice.get(base, dir=direction)).ok()
    assert [event["event_id"] for event in direct["chunk"]] == [first] and "recursion_depth" not in direct
    wanted = [first, second, third] if direction == "f" else [third, second, first]
    deep = (await alice.get(base, dir=direction, recurse=True)).ok()
    assert [event["event_id"] for event in deep["chunk"]] == wanted and deep["recursion_depth"] == 3
    assert fourth not in wanted
    collected, token = [], {}
    while True:
        page = (await alice.get(base, dir=direction, recurse=True, limit=1, **token)).ok()
        collected += [event["event_id"] for event in page["chunk"]]
        if "next_batch" not in page:
            break
        token = {"from": page["next_batch"]}
    assert collected == wanted
    of_type = (await alice.get(f"{base}/m.replace", recurse=True)).ok()["chunk"]
    assert of_type == []
