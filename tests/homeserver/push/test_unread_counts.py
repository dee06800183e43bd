"""Unread counts in /sync: what raises them, what clears them, threads, restarts, and rows that became counts."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

NUMBERS = itertools.count()
BY_THREAD = '{"room":{"timeline":{"unread_thread_notifications":true}}}'


async def send(
    client: MatrixClient, room_id: str, body: str = "hello", kind: str = "m.room.message", **more: Any
) -> str:
    content = {"msgtype": "m.text", "body": body, **more}
    answer = await client.put(f"v3/rooms/{escape(room_id)}/send/{kind}/{next(NUMBERS)}", content)
    return answer.ok()["event_id"]


async def read(client: MatrixClient, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
    (await client.post(f"v3/rooms/{escape(room_id)}/receipt/{kind}/{escape(event_id)}", body)).ok()


async def counts(client: MatrixClient, room_id: str, since: str | None = None) -> tuple[int, int]:
    more = {} if since is None else {"since": since}
    room = (await client.get("v3/sync", **more)).ok()["rooms"]["join"][room_id]
    unread = room["unread_notifications"]
    assert "unread_thread_notifications" not in room
    return unread["notification_count"], unread["highlight_count"]


async def by_thread(client: MatrixClient, room_id: str) -> dict[str, tuple[int, int]]:
    room = (await client.get("v3/sync", filter=BY_THREAD)).ok()["rooms"]["join"][room_id]
    found = {"main": room["unread_notifications"], **room.get("unread_thread_notifications", {})}
    return {name: (one["notification_count"], one["highlight_count"]) for name, one in found.items()}


async def make_room(owner: MatrixClient, *others: MatrixClient, **more: Any) -> str:
    room_id = (await owner.post("v3/createRoom", {"preset": "public_chat", **more})).ok()["room_id"]
    for other in others:
        (await other.post(f"v3/join/{escape(room_id)}")).ok()
    return room_id


@pytest.fixture
async def room_id(alice: MatrixClient, bob: MatrixClient) -> str:
    return await make_room(alice, bob)


async def test_messages_count_until_they_are_read(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    assert await counts(bob, room_id) == (0, 0)
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    first = await send(alice, room_id)
    assert await counts(bob, room_id, since) == (1, 0)
    second = await send(alice, room_id)
    assert await counts(bob, room_id, since) == (2, 0)
    assert await counts(alice, room_id) == (0, 0)
    await read(bob, room_id, first)
    assert await counts(bob, room_id) == (1, 0)
    await read(bob, room_id, second, "m.read.private")
    assert await counts(bob, room_id) == (0, 0)


async def test_the_receipt_that_is_ahead_counts(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    events = [await send(alice, room_id) for _ in range(4)]
    await read(bob, room_id, events[2])
    await read(bob, room_id, events[0], "m.read.private")
    assert await counts(bob, room_id) == (1, 0)
    await read(bob, room_id, events[3], "m.read.private")
    assert await counts(bob, room_id) == (0, 0)


async def test_a_receipt_tells_the_new_count_even_to_who_wants_no_receipts(
    alice: MatrixClient, bob: MatrixClient, room_id: str
) -> None:
    event_id = await send(alice, room_id)
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    await read(bob, room_id, event_id)
    answer = (await bob.get("v3/sync", since=since, filter='{"room":{"ephemeral":{"not_types":["*"]}}}')).ok()
    assert answer["rooms"]["join"][room_id]["unread_notifications"]["notification_count"] == 0


async def test_own_messages_clear(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    for _ in range(3):
        await send(alice, room_id)
        assert await counts(bob, room_id) == (1, 0)
        await send(bob, room_id)
        await send(bob, room_id)
        assert await counts(bob, room_id) == (0, 0)
    assert await counts(alice, room_id) == (2, 0)


async def test_what_notifies_nobody_counts_for_nobody(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    await send(alice, room_id, kind="org.example.reading")
    (await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/n", {"msgtype": "m.notice", "body": "x"})).ok()
    target = await send(bob, room_id)
    await send(alice, room_id, kind="m.reaction", **{"m.relates_to": {"rel_type": "m.annotation", "event_id": target}})
    await send(alice, room_id, **{"m.relates_to": {"rel_type": "m.replace", "event_id": target}})
    assert await counts(bob, room_id) == (0, 0)


async def test_mentions_highlight_whom_they_name(
    alice: MatrixClient, bob: MatrixClient, homeserver: RunningHomeserver
) -> None:
    carol = await homeserver.register("carol")
    room_id = await make_room(alice, bob, carol)
    await send(alice, room_id, **{"m.mentions": {"user_ids": [bob.user_id]}})
    assert await counts(bob, room_id) == (1, 1)
    assert await counts(carol, room_id) == (1, 0)
    await send(bob, room_id, **{"m.mentions": {"room": True}})
    assert await counts(carol, room_id) == (2, 0), "bob has not the power for it"
    await send(alice, room_id, **{"m.mentions": {"room": True}})
    assert await counts(carol, room_id) == (3, 1)


async def test_other_rules_hold_for_their_user_alone(
    alice: MatrixClient, bob: MatrixClient, homeserver: RunningHomeserver
) -> None:
    carol, dave = await homeserver.register("carol"), await homeserver.register("dave")
    room_id = await make_room(alice, bob, carol, dave)
    await send(alice, room_id)
    (await bob.put(f"v3/pushrules/global/room/{escape(room_id)}", {"actions": []})).ok()
    tea = {"pattern": "tea", "actions": ["notify", {"set_tweak": "highlight"}]}
    (await carol.put("v3/pushrules/global/content/tea", tea)).ok()
    await send(alice, room_id, "time for TEA!")
    await send(alice, room_id, "steam")
    assert await counts(bob, room_id) == (1, 0)
    assert await counts(carol, room_id) == (3, 1)
    assert await counts(dave, room_id) == (3, 0)
    (
        await dave.put(
            f"v3/user/{escape(dave.user_id)}/account_data/m.ignored_user_list", {"ignored_users": {alice.user_id: {}}}
        )
    ).ok()
    await send(alice, room_id)
    assert await counts(dave, room_id) == (3, 0)


async def test_threads_count_apart(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    root = await send(alice, room_id)
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    one = await send(alice, room_id, **thread)
    reply = {"m.relates_to": {"rel_type": "org.example.reply", "event_id": one}}
    two = await send(alice, room_id, **reply, **{"m.mentions": {"user_ids": [bob.user_id]}})
    assert await by_thread(bob, room_id) == {"main": (1, 0), root: (2, 1)}
    assert await counts(bob, room_id) == (3, 1)
    await read(bob, room_id, one, thread_id=root)
    assert await by_thread(bob, room_id) == {"main": (1, 0), root: (1, 1)}
    await read(bob, room_id, root, thread_id="main")
    assert await by_thread(bob, room_id) == {"main": (0, 0), root: (1, 1)}
    await read(bob, room_id, two)
    assert await by_thread(bob, room_id) == {"main": (0, 0)}
    last = await send(alice, room_id)
    await send(alice, room_id, **thread)
    await send(bob, room_id, **thread)
    assert await by_thread(bob, room_id) == {"main": (1, 0)}
    await read(bob, room_id, last, thread_id="main")
    assert await counts(bob, room_id) == (0, 0)


async def test_redacted_events_count_no_more(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    event_id = await send(alice, room_id, **{"m.mentions": {"user_ids": [bob.user_id]}})
    assert await counts(bob, room_id) == (1, 1)
    (await alice.put(f"v3/rooms/{escape(room_id)}/redact/{escape(event_id)}/r", {})).ok()
    assert await counts(bob, room_id) == (0, 0)


async def test_who_joins_has_read_what_was_before(alice: MatrixClient, homeserver: RunningHomeserver) -> None:
    room_id = await make_room(alice)
    carol = await homeserver.register("carol")
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": carol.user_id})).ok()
    await send(alice, room_id)
    invited = (await carol.get("v3/notifications")).ok()["notifications"]
    assert [one["event"]["type"] for one in invited] == ["m.room.member"]
    (await carol.post(f"v3/join/{escape(room_id)}")).ok()
    assert await counts(carol, room_id) == (0, 0)
    await send(alice, room_id)
    assert await counts(carol, room_id) == (1, 0)
    (await carol.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    await send(alice, room_id)
    (await carol.post(f"v3/join/{escape(room_id)}")).ok()
    assert await counts(carol, room_id) == (0, 0)


async def test_counts_survive_a_restart_and_tidying(tmp_path: Any) -> None:
    config = make_config(tmp_path / "hs")
    async with running_homeserver(config) as first:
        alice, bob = await first.register("alice"), await first.register("bob")
        room_id = await make_room(alice, bob)
        root = await send(alice, room_id)
        thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        for _ in range(3):
            await send(alice, room_id, **thread, **{"m.mentions": {"user_ids": [bob.user_id]}})
        last = await send(alice, room_id)
        expected = {"main": (2, 0), root: (3, 3)}
        assert await by_thread(bob, room_id) == expected
    async with running_homeserver(config) as second:
        alice, bob = second.client(alice.token), second.client(bob.token)
        assert await by_thread(bob, room_id) == expected
        await second.services.push.tidy(keep_rows=1)
        rows = second.services.database.read(
            lambda c: c.execute("SELECT (SELECT COUNT(*) FROM room_notifications) + COUNT(*) FROM user_notifications")
        ).fetchone()
        assert rows[0] <= 2
        assert await by_thread(bob, room_id) == expected
        await send(alice, room_id)
        assert await by_thread(bob, room_id) == {"main": (3, 0), root: (3, 3)}
        await second.services.push.tidy(keep_ms=-1000)
        assert await by_thread(bob, room_id) == {"main": (3, 0), root: (3, 3)}
        await read(bob, room_id, last, thread_id=root)
        assert (await by_thread(bob, room_id))["main"] == (3, 0)
        await read(bob, room_id, await send(alice, room_id))
        assert await by_thread(bob, room_id) == {"main": (0, 0)}


async def test_notifications_are_listed(alice: MatrixClient, bob: MatrixClient, room_id: str) -> None:
    other = await make_room(alice, bob)
    events = []
    for number in range(5):
        mention = {"m.mentions": {"user_ids": [bob.user_id]}} if number == 2 else {}
        events.append(await send(alice, other if number % 2 else room_id, f"m{number}", **mention))
    await read(bob, room_id, events[2])
    answer = (await bob.get("v3/notifications", limit=3)).ok()
    rest = (await bob.get("v3/notifications", **{"from": answer["next_token"]})).ok()
    listed = answer["notifications"] + rest["notifications"]
    assert [one["event"]["event_id"] for one in listed] == events[::-1]
    assert "next_token" not in rest
    assert [one["read"] for one in listed] == [False, False, True, False, True]
    assert listed[0]["room_id"] == room_id and "room_id" not in listed[0]["event"]
    assert listed[0]["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]
    only = (await bob.get("v3/notifications", only="highlight")).ok()["notifications"]
    assert [one["event"]["event_id"] for one in only] == [events[2]]
    assert (await alice.get("v3/notifications")).ok() == {"notifications": []}
    (await bob.get("v3/notifications", **{"from": "x"})).is_error(400, "M_INVALID_PARAM")
