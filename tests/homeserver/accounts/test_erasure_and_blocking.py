"""What later members see of somebody who was erased, and invites that are not wanted."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from tests.homeserver.accounts.test_devices_and_account import with_password
from tests.homeserver.running import PASSWORD, MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

NUMBERS = itertools.count()


async def say(client: MatrixClient, room_id: str, body: str) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{next(NUMBERS)}"
    return (await client.put(path, {"msgtype": "m.text", "body": body})).ok()["event_id"]


async def content(client: MatrixClient, room_id: str, event_id: str) -> dict[str, Any]:
    return (await client.get(f"v3/rooms/{escape(room_id)}/event/{escape(event_id)}")).ok()["content"]


async def test_erased_messages_are_redacted_for_who_came_later(tmp_path: Path) -> None:
    config = make_config(tmp_path / "homeserver")
    async with running_homeserver(config) as homeserver:
        alice, bob, carol = [await homeserver.register(name) for name in ("alice", "bob", "carol")]
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat", "name": "Kitchen"})).ok()["room_id"]
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        secret = await say(alice, room_id, "unforgettable words")
        other = await say(bob, room_id, "hello")
        # Whoever was there and left keeps what they could see; whoever missed it then gets nothing of it now.
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        (await with_password(alice, "POST", "v3/account/deactivate", {"erase": True}, PASSWORD)).ok()
        carol.sends_odd_events = True  # a redacted message without a redaction is not what its type allows
        await seen_by_both(bob, carol, room_id, secret, other)
        rooms = homeserver.services.rooms
        stored = rooms.database.read(lambda c: rooms.events.get(c, secret))
        assert stored is not None
        for server, hidden in (("localhost", False), ("elsewhere.test", True)):
            assert rooms.database.read(lambda c, s=server: rooms.erasures.hides_from_server(c, s, stored)) is hidden
        tokens = bob.token, carol.token
    async with running_homeserver(config) as again:
        bob, carol = (again.client(token) for token in tokens)
        carol.sends_odd_events = True
        assert (await content(bob, room_id, secret))["body"] == "unforgettable words"
        assert await content(carol, room_id, secret) == {}


async def seen_by_both(bob: MatrixClient, carol: MatrixClient, room_id: str, secret: str, other: str) -> None:
    for client in (bob, carol):
        (await client.post(f"v3/join/{escape(room_id)}")).ok()
    assert (await content(bob, room_id, secret))["body"] == "unforgettable words"
    assert await content(carol, room_id, secret) == {}
    assert (await content(carol, room_id, other))["body"] == "hello"
    messages = (await carol.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=50)).ok()["chunk"]
    assert "unforgettable" not in str(messages)
    context = (await carol.get(f"v3/rooms/{escape(room_id)}/context/{escape(other)}")).ok()
    assert "unforgettable" not in str(context)
    timeline = (await carol.get("v3/sync")).ok()["rooms"]["join"][room_id]["timeline"]["events"]
    assert secret in [event["event_id"] for event in timeline] and "unforgettable" not in str(timeline)
    federation = '{"event_format":"federation"}'
    assert "unforgettable" not in str((await carol.get("v3/sync", filter=federation)).ok())
    term = {"search_categories": {"room_events": {"search_term": "unforgettable"}}}
    found = [(await client.post("v3/search", term)).ok()["search_categories"]["room_events"] for client in (bob, carol)]
    assert [one["count"] for one in found] == [1, 0]
    # What the room is called is the room's.
    assert (await carol.get(f"v3/rooms/{escape(room_id)}/state/m.room.name")).ok() == {"name": "Kitchen"}


async def test_without_the_wish_nothing_is_hidden(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    secret = await say(alice, room_id, "words")
    (await with_password(alice, "POST", "v3/account/deactivate", {}, PASSWORD)).ok()
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    assert (await content(bob, room_id, secret))["body"] == "words"


async def test_invites_that_are_not_wanted(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    early = (await alice.post("v3/createRoom", {"invite": [bob.user_id]})).ok()["room_id"]
    lists = {"lists": {"all": {"range": [0, 9], "required_state": [], "timeline_limit": 0}}}
    path = "unstable/org.matrix.simplified_msc3575/sync"
    assert early in (await bob.post(path, lists)).ok()["rooms"]
    wish = f"v3/user/{escape(bob.user_id)}/account_data/m.invite_permission_config"
    (await bob.put(wish, {"default_action": "block"})).ok()
    room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    invite = {"user_id": bob.user_id}
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", invite)).is_error(403, "M_INVITE_BLOCKED")
    (await alice.post("v3/createRoom", {"invite": [bob.user_id]})).is_error(403, "M_INVITE_BLOCKED")
    member = f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(bob.user_id)}"
    (await alice.put(member, {"membership": "invite"})).is_error(403, "M_INVITE_BLOCKED")
    # What was there before is hidden, until invites are wanted again.
    assert (await bob.get("v3/sync")).ok().get("rooms", {}).get("invite", {}) == {}
    assert (await bob.get("v3/initialSync")).ok()["rooms"] == []
    assert (await bob.post(path, lists | {"conn_id": "b"})).ok()["lists"]["all"]["count"] == 0
    (await bob.put(wish, {"default_action": "no such thing"})).ok()
    assert list((await bob.get("v3/sync")).ok()["rooms"]["invite"]) == [early]
    (await alice.post(f"v3/rooms/{escape(room_id)}/invite", invite)).ok()


async def test_events_of_a_room_that_one_peeks_at(alice: MatrixClient, bob: MatrixClient) -> None:
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}]
    room_id = (await alice.post("v3/createRoom", {"initial_state": state})).ok()["room_id"]
    closed = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    (await bob.get("v3/events", room_id=closed)).is_error(403, "M_FORBIDDEN")
    start = (await bob.get("v3/events", room_id=room_id)).ok()["end"]
    event_id = await say(alice, room_id, "seen")
    await say(alice, closed, "unseen")
    chunk = (await bob.get("v3/events", room_id=room_id, **{"from": start}, timeout=5000)).ok()["chunk"]
    assert [event["event_id"] for event in chunk] == [event_id]
