"""Ignored users: their messages and invites are kept back everywhere, their state is not."""

from tests.homeserver.running import MatrixClient, escape


async def test_ignored_users_are_not_heard_and_cannot_invite(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    message = {"msgtype": "m.text", "body": "psst"}

    async def bobs(client: MatrixClient) -> list[str]:
        answer = (await client.get("v3/sync")).ok()["rooms"]
        events = answer["join"][room_id]["timeline"]["events"]
        return [event["type"] for event in events if event["sender"] == bob.user_id] + sorted(answer["invite"])

    path = f"v3/rooms/{escape(room_id)}"
    (await bob.put(f"{path}/send/m.room.message/1", message)).ok()
    assert await bobs(alice) == ["m.room.member", "m.room.message"]
    ignore = f"v3/user/{escape(alice.user_id)}/account_data/m.ignored_user_list"
    (await alice.put(ignore, {"ignored_users": {bob.user_id: {}}})).ok()
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    (await bob.put(f"{path}/send/m.room.message/2", message)).ok()
    invite = {"invite": [alice.user_id], "is_direct": True}
    unwanted = (await bob.post("v3/createRoom", invite)).ok()["room_id"]
    assert await bobs(alice) == ["m.room.member"]
    assert not any((await alice.get("v3/sync", since=since)).ok()["rooms"].values())
    page = (await alice.get(f"{path}/messages", dir="b")).ok()["chunk"]
    assert "m.room.message" not in {event["type"] for event in page}

    wish = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 9, "required_state": []}}}
    sliding = "unstable/org.matrix.simplified_msc3575/sync"
    first = (await alice.post(sliding, wish)).ok()
    assert first["lists"] == {"all": {"count": 1}} and unwanted not in first["rooms"]
    assert "m.room.message" not in {event["type"] for event in first["rooms"][room_id]["timeline"]}
    (await alice.put(ignore, {"ignored_users": {}})).ok()
    second = (await alice.post(sliding, wish, pos=first["pos"])).ok()
    assert second["lists"] == {"all": {"count": 2}} and "invite_state" in second["rooms"][unwanted]
    assert await bobs(alice) == ["m.room.member", "m.room.message", "m.room.message", unwanted]
