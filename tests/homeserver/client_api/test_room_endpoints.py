"""The room endpoints and /sync over HTTP, as a client meets them."""

import asyncio
import json

from tests.homeserver.running import MatrixClient, RunningHomeserver, escape
from tests.patience import PATIENCE_SECONDS


async def make_room(client: MatrixClient, **wish) -> str:
    return (await client.post("v3/createRoom", wish)).ok()["room_id"]


async def send(client: MatrixClient, room: str, body: str, txn: str = "") -> str:
    path = f"v3/rooms/{escape(room)}/send/m.room.message/{txn or body}"
    return (await client.put(path, {"msgtype": "m.text", "body": body})).ok()["event_id"]


async def test_two_people_talk(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, name="Kitchen", topic="warm", invite=[bob.user_id], is_direct=True)
    first = (await bob.get("v3/sync")).ok()
    stripped = {event["type"]: event for event in first["rooms"]["invite"][room]["invite_state"]["events"]}
    assert stripped["m.room.create"]["content"]["room_version"] == "12"
    assert stripped["m.room.name"]["content"] == {"name": "Kitchen"}
    assert set(stripped["m.room.name"]) == {"type", "state_key", "sender", "content"}
    assert (await bob.post(f"v3/join/{escape(room)}")).ok() == {"room_id": room}
    joined = (await bob.get("v3/sync", since=first["next_batch"])).ok()["rooms"]["join"][room]
    assert joined["summary"]["m.joined_member_count"] == 2
    waiting = asyncio.create_task(bob.get("v3/sync", since=(await bob.get("v3/sync")).ok()["next_batch"], timeout=9000))
    await asyncio.sleep(0.02)
    event_id = await send(alice, room, "soup")
    heard = (await asyncio.wait_for(waiting, PATIENCE_SECONDS)).ok()["rooms"]["join"][room]["timeline"]["events"]
    assert [event["event_id"] for event in heard] == [event_id]
    assert heard[0]["content"]["body"] == "soup" and "transaction_id" not in heard[0]["unsigned"]


async def test_a_transaction_id_makes_one_event_for_each_device_and_path(
    homeserver: RunningHomeserver, alice: MatrixClient
) -> None:
    room, other = await make_room(alice), await make_room(alice)
    event_id = await send(alice, room, "once", "t1")
    assert await send(alice, room, "once again", "t1") == event_id
    assert await send(alice, other, "elsewhere", "t1") != event_id
    events = (await alice.get("v3/sync")).ok()["rooms"]["join"][room]["timeline"]["events"]
    assert [e["unsigned"].get("transaction_id") for e in events if e["type"] == "m.room.message"] == ["t1"]
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    login = (await homeserver.client().post("v3/login", body | {"password": "correct horse battery"})).ok()
    second = homeserver.client(login["access_token"])
    assert await send(second, room, "from the other device", "t1") != event_id
    events = (await second.get("v3/sync")).ok()["rooms"]["join"][room]["timeline"]["events"]
    ids = {e["content"].get("body"): e["unsigned"].get("transaction_id") for e in events}
    assert ids["once"] is None and ids["from the other device"] == "t1"


async def test_state_is_set_and_read(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, preset="public_chat")
    base = f"v3/rooms/{escape(room)}/state"
    event_id = (await alice.put(f"{base}/org.example.light", {"on": True})).ok()["event_id"]
    assert (await alice.put(f"{base}/org.example.light/", {"on": True})).ok()["event_id"] == event_id
    assert (await alice.get(f"{base}/org.example.light")).ok() == {"on": True}
    assert (await alice.get(f"{base}/org.example.light/")).ok() == {"on": True}
    whole = (await alice.get(f"{base}/org.example.light", format="event")).ok()
    assert whole["event_id"] == event_id and whole["room_id"] == room
    (await alice.get(f"{base}/org.example.none")).is_error(404, "M_NOT_FOUND")
    (await bob.get(f"{base}/org.example.light")).is_error(403, "M_FORBIDDEN")
    (await bob.get(base)).is_error(403, "M_FORBIDDEN")
    everything = (await alice.get(base)).body
    assert {event["type"] for event in everything} >= {"m.room.create", "m.room.member", "org.example.light"}
    (await bob.post(f"v3/rooms/{escape(room)}/join")).ok()
    (await bob.put(f"{base}/org.example.light", {"on": False})).is_error(403, "M_FORBIDDEN")
    (await alice.put(f"{base}/org.example.light", {"level": 1.5})).is_error(400, "M_BAD_JSON")


async def test_pages_of_history_meet_without_gap_or_overlap(alice: MatrixClient) -> None:
    room = await make_room(alice)
    sent = [await send(alice, room, f"m{number}") for number in range(25)]
    wanted = json.dumps({"room": {"timeline": {"limit": 5}}})
    section = (await alice.get("v3/sync", filter=wanted)).ok()["rooms"]["join"][room]
    assert section["timeline"]["limited"] is True
    collected = [event["event_id"] for event in section["timeline"]["events"]]
    assert collected == sent[-5:]
    token: str | None = section["timeline"]["prev_batch"]
    base = f"v3/rooms/{escape(room)}/messages"
    while token is not None:
        page = (await alice.get(base, dir="b", **{"from": token}, limit=7)).ok()
        collected = [event["event_id"] for event in reversed(page["chunk"])] + collected
        token = page.get("end")
    assert collected[-25:] == sent and len(collected) == len(set(collected))
    forwards: list[str] = []
    page = (await alice.get(base, dir="f", limit=9)).ok()
    while True:
        forwards += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            break
        page = (await alice.get(base, dir="f", limit=9, **{"from": page["end"]})).ok()
    assert forwards == collected
    (await alice.get(base, dir="b", **{"from": "nonsense"})).is_error(400, "M_INVALID_PARAM")
    (await alice.get(base)).is_error(400, "M_MISSING_PARAM")


async def test_a_redacted_event_is_gone_and_says_why(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice, preset="public_chat")
    (await bob.post(f"v3/rooms/{escape(room)}/join")).ok()
    event_id = await send(alice, room, "secret")
    base = f"v3/rooms/{escape(room)}"
    (await bob.put(f"{base}/redact/{escape(event_id)}/r0", {})).is_error(403, "M_FORBIDDEN")
    (await bob.put(f"{base}/send/m.room.redaction/s0", {"redacts": event_id})).is_error(403, "M_FORBIDDEN")
    (await alice.put(f"{base}/state/m.room.redaction/", {"redacts": event_id})).is_error(400, "M_BAD_JSON")
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    answer = await alice.put(f"{base}/redact/{escape(event_id)}/r1", {"reason": "too much"})
    redaction = answer.ok()["event_id"]
    assert (await alice.put(f"{base}/redact/{escape(event_id)}/r1", {})).ok()["event_id"] == redaction
    shown = (await bob.get(f"{base}/event/{escape(event_id)}")).ok()
    assert shown["content"] == {}
    because = shown["unsigned"]["redacted_because"]
    assert because["event_id"] == redaction and because["content"] == {"reason": "too much", "redacts": event_id}
    heard = (await bob.get("v3/sync", since=since)).ok()["rooms"]["join"][room]["timeline"]["events"]
    assert [event["redacts"] for event in heard] == [event_id]
    other = await send(bob, room, "another")
    content = {"redacts": other, "reason": "by send"}
    (await alice.put(f"{base}/send/m.room.redaction/r2", content)).ok()
    assert (await bob.get(f"{base}/event/{escape(other)}")).ok()["content"] == {}


async def test_context_time_and_relations(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice)
    ids = [await send(alice, room, f"m{number}") for number in range(9)]
    base = f"v3/rooms/{escape(room)}"
    context = (await alice.get(f"{base}/context/{escape(ids[4])}", limit=4)).ok()
    assert context["event"]["event_id"] == ids[4]
    assert [event["event_id"] for event in context["events_before"]] == [ids[3], ids[2]]
    assert [event["event_id"] for event in context["events_after"]] == [ids[5], ids[6]]
    assert any(event["type"] == "m.room.create" for event in context["state"])
    before = (await alice.get(f"{base}/messages", dir="b", limit=1, **{"from": context["start"]})).ok()["chunk"]
    after = (await alice.get(f"{base}/messages", dir="f", limit=1, **{"from": context["end"]})).ok()["chunk"]
    assert (before[0]["event_id"], after[0]["event_id"]) == (ids[1], ids[7])
    (await bob.get(f"{base}/context/{escape(ids[4])}")).is_error(404, "M_NOT_FOUND")
    (await bob.get(f"{base}/event/{escape(ids[4])}")).is_error(404, "M_NOT_FOUND")
    when = context["event"]["origin_server_ts"]
    near = (await alice.get(f"v1/rooms/{escape(room)}/timestamp_to_event", ts=when, dir="f")).ok()
    assert near["origin_server_ts"] == when
    relation = {"m.relates_to": {"rel_type": "m.annotation", "event_id": ids[0], "key": "👍"}}
    reaction = (await alice.put(f"{base}/send/m.reaction/x", relation)).ok()["event_id"]
    related = (await alice.get(f"v1/rooms/{escape(room)}/relations/{escape(ids[0])}/m.annotation")).ok()
    assert [event["event_id"] for event in related["chunk"]] == [reaction]
    assert (await alice.get(f"v1/rooms/{escape(room)}/relations/{escape(ids[0])}/m.thread")).ok()["chunk"] == []


async def test_membership_endpoints(alice: MatrixClient, bob: MatrixClient) -> None:
    room = await make_room(alice)
    base = f"v3/rooms/{escape(room)}"
    target = {"user_id": bob.user_id, "reason": "because"}
    (await bob.post(f"{base}/join")).is_error(403, "M_FORBIDDEN")
    (await alice.post(f"{base}/kick", target)).is_error(403, "M_FORBIDDEN")
    (await alice.post(f"{base}/invite", {"user_id": "bob"})).is_error(400, "M_INVALID_PARAM")
    (await alice.post(f"{base}/invite", {})).is_error(400, "M_MISSING_PARAM")
    (await alice.post(f"{base}/invite", target)).ok()
    (await bob.post(f"{base}/join")).ok()
    assert (await bob.get("v3/joined_rooms")).ok() == {"joined_rooms": [room]}
    members = (await alice.get(f"{base}/members", membership="join")).ok()["chunk"]
    assert {event["state_key"] for event in members} == {alice.user_id, bob.user_id}
    assert set((await bob.get(f"{base}/joined_members")).ok()["joined"]) == {alice.user_id, bob.user_id}
    (await alice.post(f"{base}/ban", target)).ok()
    (await bob.post(f"{base}/join")).is_error(403, "M_FORBIDDEN")
    (await alice.post(f"{base}/unban", target)).ok()
    (await alice.post(f"{base}/unban", target)).is_error(403, "M_FORBIDDEN")
    (await bob.post(f"{base}/forget")).ok()
    (await bob.get(f"{base}/members")).is_error(403, "M_FORBIDDEN")
    (await alice.post(f"{base}/forget")).is_error(400, "M_UNKNOWN")
    (await alice.post(f"{base}/leave", {"reason": "enough"})).ok()
    (await alice.post("v3/join/!nowhere:localhost")).is_error(404, "M_NOT_FOUND")


async def test_the_directory_lists_public_rooms(alice: MatrixClient, bob: MatrixClient, anyone: MatrixClient) -> None:
    rooms = [await make_room(alice, visibility="public", name=f"Room {n}", room_alias_name=f"r{n}") for n in range(3)]
    await make_room(alice, name="hidden")
    (await bob.post("v3/join/%23r2:localhost")).ok()
    listed = (await anyone.get("v3/publicRooms", limit=2)).ok()
    assert listed["chunk"][0]["room_id"] == rooms[2] and listed["chunk"][0]["num_joined_members"] == 2
    assert listed["chunk"][0]["canonical_alias"] == "#r2:localhost"
    rest = (await anyone.get("v3/publicRooms", limit=2, since=listed["next_batch"])).ok()
    assert {entry["room_id"] for entry in listed["chunk"] + rest["chunk"]} == set(rooms)
    found = (await bob.post("v3/publicRooms", {"filter": {"generic_search_term": "ROOM 1"}})).ok()["chunk"]
    assert [entry["room_id"] for entry in found] == [rooms[1]]
    (await alice.post("v3/createRoom", {"room_alias_name": "r0"})).is_error(400, "M_ROOM_IN_USE")
    (await bob.post("v3/join/%23nothing:localhost")).is_error(404, "M_NOT_FOUND")


async def test_create_room_refuses_what_it_cannot_make(alice: MatrixClient) -> None:
    create = "v3/createRoom"
    (await alice.post(create, {"room_version": "99"})).is_error(400, "M_UNSUPPORTED_ROOM_VERSION")
    (await alice.post(create, {"preset": "none"})).is_error(400, "M_BAD_JSON")
    (await alice.post(create, {"invite": ["bob"]})).is_error(400, "M_INVALID_PARAM")
    levels = {"users": {alice.user_id: 100}}
    (await alice.post(create, {"power_level_content_override": levels})).is_error(400, "M_INVALID_ROOM_STATE")
    (await alice.post(create, {"name": "x" * 70_000})).is_error(413, "M_TOO_LARGE")
    assert (await alice.get("v3/joined_rooms")).ok() == {"joined_rooms": []}


async def test_sync_refuses_nonsense(alice: MatrixClient) -> None:
    (await alice.get("v3/sync", since="yesterday")).is_error(400, "M_INVALID_PARAM")
    (await alice.get("v3/sync", filter="{")).is_error(400, "M_INVALID_PARAM")
    (await alice.get("v3/sync", filter='{"room": {"timeline": {"limit": "x"}}}')).is_error(400, "M_INVALID_PARAM")
    (await alice.get("v3/sync", filter="77")).is_error(400, "M_INVALID_PARAM")
