"""Sliding sync over HTTP: both paths, positions, filters, subscriptions, invites, extensions, long poll, restart."""

import asyncio
from typing import Any

from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, running_homeserver
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.config import HomeserverConfig

UNSTABLE = "unstable/org.matrix.simplified_msc3575/sync"
STATE = [["m.room.create", ""], ["m.room.member", "$LAZY"], ["m.room.member", "$ME"], ["m.room.name", ""]]


def body(limit: int = 10, ranges: Any = ((0, 99),), filters: Any = None, **more: Any) -> dict[str, Any]:
    one = {"ranges": ranges, "timeline_limit": limit, "required_state": STATE}
    return {"lists": {"all": one | ({"filters": filters} if filters else {})}, **more}


async def make_room(client: MatrixClient, **wish: Any) -> str:
    return (await client.post("v3/createRoom", wish)).ok()["room_id"]


async def say(client: MatrixClient, room_id: str, text: str, transaction_id: str) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{transaction_id}"
    return (await client.put(path, {"msgtype": "m.text", "body": text})).ok()["event_id"]


async def ask(client: MatrixClient, wish: dict[str, Any], pos: str | None = None, **query: Any) -> dict[str, Any]:
    return (await client.post(UNSTABLE, wish, **query, **({"pos": pos} if pos else {}))).ok()


async def test_it_is_announced(anyone: MatrixClient) -> None:
    features = (await anyone.get("versions")).ok()["unstable_features"]
    assert features["org.matrix.simplified_msc3575"] is True


async def test_first_and_later_answers(alice: MatrixClient) -> None:
    room_id = await make_room(alice, name="Kitchen")
    first = await ask(alice, body(), timeout=0)
    assert first["lists"] == {"all": {"count": 1}}
    room = first["rooms"][room_id]
    assert (room["initial"], room["name"], room["membership"], room["joined_count"]) == (True, "Kitchen", "join", 1)
    assert (room["notification_count"], room["highlight_count"], room["num_live"]) == (0, 0, 0)
    types = {(event["type"], event["state_key"]) for event in room["required_state"]}
    assert types == {("m.room.create", ""), ("m.room.name", ""), ("m.room.member", alice.user_id)}
    assert (await ask(alice, body(), first["pos"], timeout=0))["rooms"] == {}
    event_id = await say(alice, room_id, "hello", "1")
    later = await ask(alice, body(), first["pos"], timeout=0)
    room = later["rooms"][room_id]
    assert [event["event_id"] for event in room["timeline"]] == [event_id]
    assert room["timeline"][0]["unsigned"]["transaction_id"] == "1"
    assert room["num_live"] == 1 and not room["limited"]
    assert "initial" not in room and "required_state" not in room and "name" not in room
    page = await alice.get(f"v3/rooms/{escape(room_id)}/messages", **{"from": later["pos"]}, dir="b", limit=1)
    assert page.ok()["chunk"][0]["event_id"] == event_id


async def test_the_merged_path_has_names_of_its_own(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice, invite=[bob.user_id])
    wish = {"lists": {"all": {"range": [0, 9], "timeline_limit": 1, "required_state": {"include": [{}]}}}}
    answer = (await bob.post("v4/sync", wish)).ok()
    invited = answer["rooms"][room_id]
    assert invited["membership"] == "invite" and invited["lists"] == ["all"]
    assert any(event["type"] == "m.room.create" for event in invited["stripped_state"])
    assert "timeline" not in invited and "notification_count" not in invited
    old = (await ask(bob, body(conn_id="old")))["rooms"][room_id]
    assert "stripped_state" not in old and old["invite_state"] == invited["stripped_state"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    joined = (await bob.post("v4/sync", wish | {"pos": answer["pos"], "timeout": 0})).ok()["rooms"][room_id]
    assert joined["initial"] and joined["membership"] == "join" and len(joined["required_state"]) > 5
    assert [hero["user_id"] for hero in joined["heroes"]] == [alice.user_id]


async def test_positions_belong_to_their_connection(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice)
    one = await ask(alice, body(conn_id="one"))
    two = await ask(alice, body(conn_id="two"))
    for client, wish in ((alice, body(conn_id="two")), (alice, body()), (bob, body(conn_id="one"))):
        (await client.post(UNSTABLE, wish, pos=one["pos"])).is_error(400, "M_UNKNOWN_POS")
    for bad in ("x", "p1_1_1_1", "p99999_1_1_1", "s1_2"):
        (await alice.post(UNSTABLE, body(), pos=bad)).is_error(400, "M_UNKNOWN_POS")
    event_id = await say(alice, room_id, "x", "1")
    for conn_id, answer in (("one", one), ("two", two)):
        for _ in range(2):
            told = await ask(alice, body(conn_id=conn_id), answer["pos"])
            assert [event["event_id"] for event in told["rooms"][room_id]["timeline"]] == [event_id]
    # Beginning anew under the same name ends what was.
    await ask(alice, body(conn_id="one"))
    (await alice.post(UNSTABLE, body(conn_id="one"), pos=one["pos"])).is_error(400, "M_UNKNOWN_POS")


async def test_a_device_keeps_so_many_connections(alice: MatrixClient) -> None:
    first = await ask(alice, body(conn_id="c0"))
    for number in range(1, 21):
        last = await ask(alice, body(conn_id=f"c{number}"))
    (await alice.post(UNSTABLE, body(conn_id="c0"), pos=first["pos"])).is_error(400, "M_UNKNOWN_POS")
    await ask(alice, body(conn_id="c20"), last["pos"])


async def test_a_connection_outlives_the_server(homeserver_config: HomeserverConfig) -> None:
    async with running_homeserver(homeserver_config) as running:
        alice = await running.register("alice")
        rooms = [await make_room(alice, name=str(n)) for n in range(4)]
        first = await ask(alice, body(ranges=[[0, 1]]))
        assert first["rooms"].keys() == {rooms[3], rooms[2]}
        await say(alice, rooms[0], "x", "1")
        second = await ask(alice, body(ranges=[[0, 1]]), first["pos"])
        assert second["rooms"].keys() == {rooms[0]}
        event_id = await say(alice, rooms[2], "y", "2")
    async with running_homeserver(homeserver_config) as running:
        client = running.client(alice.token)
        for _ in range(2):
            third = await ask(client, body(ranges=[[0, 1]]), second["pos"])
            assert third["rooms"].keys() == {rooms[2]}
            assert [event["event_id"] for event in third["rooms"][rooms[2]]["timeline"]] == [event_id]
        fourth = await ask(client, body(ranges=[[0, 9]]), third["pos"])
        assert fourth["rooms"].keys() == {rooms[1]}


async def test_configs_that_grow(alice: MatrixClient) -> None:
    room_id = await make_room(alice, name="n", topic="t")
    ids = [await say(alice, room_id, str(n), str(n)) for n in range(5)]
    first = await ask(alice, body(1))
    assert first["rooms"][room_id]["limited"]
    grown = await ask(alice, body(4), first["pos"], timeout=5000)
    room = grown["rooms"][room_id]
    assert [event["event_id"] for event in room["timeline"]] == ids[1:]
    assert room["unstable_expanded_timeline"] and room["num_live"] == 0 and "initial" not in room
    wish = body(4)
    wish["lists"]["all"]["required_state"] = [*STATE, ["m.room.topic", ""]]
    more = await ask(alice, wish, grown["pos"], timeout=5000)
    assert [event["type"] for event in more["rooms"][room_id]["required_state"]] == ["m.room.topic"]
    assert "timeline" not in more["rooms"][room_id]
    subscribed = wish | {"room_subscriptions": {room_id: {"timeline_limit": 20, "required_state": [["*", "*"]]}}}
    whole = (await ask(alice, subscribed, more["pos"]))["rooms"][room_id]
    assert {event["type"] for event in whole["required_state"]} >= {"m.room.power_levels", "m.room.join_rules"}
    assert len(whole["timeline"]) > 5


async def test_filters_and_counts(alice: MatrixClient) -> None:
    space = await make_room(alice, creation_content={"type": "m.space"}, name="House")
    encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    secret = await make_room(alice, initial_state=[encryption], name="Secret")
    plain = await make_room(alice, name="Plain")
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({"is_encrypted": True}, {secret}),
        ({"is_encrypted": False}, {space, plain}),
        ({"room_types": ["m.space"]}, {space}),
        ({"room_types": [None]}, {secret, plain}),
        ({"not_room_types": ["m.space"]}, {secret, plain}),
        ({"room_name_like": "plai"}, {plain}),
        ({"is_dm": True}, set()),
        ({"tags": ["m.favourite"]}, set()),
        ({"spaces": [space]}, set()),
        ({"is_invite": True}, set()),
    ]
    lists = {
        str(n): {"ranges": [[0, 9]], "timeline_limit": 0, "required_state": [], "filters": filters}
        for n, (filters, _) in enumerate(cases)
    }
    first = await ask(alice, {"lists": lists})
    assert [first["lists"][str(n)]["count"] for n in range(len(cases))] == [len(rooms) for _, rooms in cases]
    shown = {name: {r for r, room in first["rooms"].items() if name in room["lists"]} for name in lists}
    assert [shown[str(n)] for n in range(len(cases))] == [rooms for _, rooms in cases]
    user = f"v3/user/{escape(alice.user_id)}"
    (await alice.put(f"{user}/account_data/m.direct", {"@bob:localhost": [plain]})).ok()
    (await alice.put(f"{user}/rooms/{escape(secret)}/tags/m.favourite", {"order": 0.5})).ok()
    child = f"v3/rooms/{escape(space)}/state/m.space.child/{escape(plain)}"
    (await alice.put(child, {"via": ["localhost"]})).ok()
    later = await ask(alice, {"lists": lists}, first["pos"])
    assert [later["lists"][str(n)]["count"] for n in (6, 7, 8)] == [1, 1, 1]
    assert later["rooms"][plain]["is_dm"] is True and "6" in later["rooms"][plain]["lists"]
    (await alice.put(f"v3/rooms/{escape(plain)}/state/m.room.encryption", encryption["content"])).ok()
    last = await ask(alice, {"lists": lists}, later["pos"])
    assert (last["lists"]["0"]["count"], last["lists"]["1"]["count"]) == (2, 1)


async def test_leaving_kicks_and_bans(alice: MatrixClient, bob: MatrixClient) -> None:
    rooms = [await make_room(alice, preset="public_chat", name=str(n)) for n in range(4)]
    for room_id in rooms:
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    first = await ask(bob, body())
    assert first["lists"]["all"]["count"] == 4
    (await bob.post(f"v3/rooms/{escape(rooms[0])}/leave")).ok()
    (await alice.post(f"v3/rooms/{escape(rooms[1])}/kick", {"user_id": bob.user_id})).ok()
    (await alice.post(f"v3/rooms/{escape(rooms[2])}/ban", {"user_id": bob.user_id})).ok()
    for room_id in rooms[:3]:
        await say(alice, room_id, "not for bob", "after")
    second = await ask(bob, body(), first["pos"])
    assert second["lists"]["all"]["count"] == 3
    assert [second["rooms"][room_id]["membership"] for room_id in rooms[:3]] == ["leave", "leave", "ban"]
    for room_id in rooms[:3]:
        assert [event["type"] for event in second["rooms"][room_id]["timeline"]] == ["m.room.member"]
        assert second["rooms"][room_id]["required_state"][0]["state_key"] == bob.user_id
    assert (await ask(bob, body(), second["pos"]))["rooms"] == {}
    anew = await ask(bob, body())
    assert anew["rooms"].keys() == set(rooms[1:])
    stranger = {"room_subscriptions": {rooms[0]: {"timeline_limit": 5, "required_state": []}, "!x:y": {
        "timeline_limit": 5, "required_state": []}}}  # fmt: skip
    assert "not for bob" not in str(await ask(bob, stranger))
    private = await make_room(alice)
    spy = {"room_subscriptions": {private: {"timeline_limit": 5, "required_state": [["*", "*"]]}}}
    assert (await ask(bob, spy))["rooms"] == {}


async def test_extensions(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice, preset="public_chat")
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    event_id = await say(alice, room_id, "x", "1")
    names = ("to_device", "e2ee", "account_data", "receipts", "typing")
    wish = body(extensions={name: {"enabled": True} for name in names} | {"unknown": {"enabled": True}})
    first = await ask(alice, wish)
    more = first["extensions"]
    assert more["to_device"]["events"] == [] and int(more["to_device"]["next_batch"]) >= 0
    assert isinstance(more["e2ee"]["device_one_time_keys_count"], dict)
    assert "m.push_rules" in {event["type"] for event in more["account_data"]["global"]}
    assert "receipts" not in more and "typing" not in more
    room = escape(room_id)
    (await bob.post(f"v3/rooms/{room}/receipt/m.read/{escape(event_id)}")).ok()
    (await bob.put(f"v3/rooms/{room}/typing/{escape(bob.user_id)}", {"typing": True, "timeout": 20000})).ok()
    (await alice.put(f"v3/user/{escape(alice.user_id)}/rooms/{room}/account_data/x", {"a": 1})).ok()
    second = await ask(alice, wish, first["pos"], timeout=5000)
    more = second["extensions"]
    assert second["rooms"] == {}
    assert more["receipts"]["rooms"][room_id]["content"][event_id]["m.read"].keys() == {bob.user_id}
    assert more["typing"]["rooms"][room_id]["content"] == {"user_ids": [bob.user_id]}
    assert more["account_data"] == {"global": [], "rooms": {room_id: [{"type": "x", "content": {"a": 1}}]}}
    third = await ask(alice, wish, second["pos"])
    assert third["extensions"].keys() == {"to_device", "e2ee"}
    fresh = (await ask(alice, wish))["extensions"]
    assert fresh["receipts"]["rooms"].keys() == fresh["typing"]["rooms"].keys() == {room_id}
    outside = body(extensions={"typing": {"enabled": True, "lists": [], "rooms": []}})
    assert "typing" not in (await ask(alice, outside))["extensions"]


async def test_an_extension_that_is_enabled_later_tells_everything(alice: MatrixClient) -> None:
    await make_room(alice)
    first = await ask(alice, body())
    wish = body(extensions={"account_data": {"enabled": True}})
    later = await ask(alice, wish, first["pos"], timeout=5000)
    assert later["extensions"]["account_data"]["global"]
    assert "account_data" not in (await ask(alice, wish, later["pos"]))["extensions"]


async def test_it_waits_and_wakes(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await make_room(alice, preset="public_chat")
    first = await ask(alice, body())
    waiting = asyncio.create_task(ask(alice, body(), first["pos"], timeout=20_000))
    await asyncio.sleep(0.1)
    await make_room(bob)
    await asyncio.sleep(0.1)
    assert not waiting.done()
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    woken = await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    assert woken["rooms"][room_id]["joined_count"] == 2
    nothing = await ask(alice, body(), woken["pos"], timeout=50)
    assert nothing["rooms"] == {}


async def test_a_request_that_is_sent_again_supersedes(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    async def waiting(number: int) -> None:
        while homeserver.services.rooms.notifier.waiting < number:
            await asyncio.sleep(0.01)

    room_id = await make_room(alice)
    first = await ask(alice, body())
    old = asyncio.create_task(ask(alice, body(), first["pos"], timeout=60_000))
    await waiting(1)
    new = asyncio.create_task(ask(alice, body(), first["pos"], timeout=60_000))
    await waiting(2)
    await say(alice, room_id, "x", "1")
    answers = [await asyncio.wait_for(task, PATIENCE_SECONDS) for task in (old, new)]
    assert [room_id in answer["rooms"] for answer in answers] == [False, True]
    assert (await ask(alice, body(), answers[1]["pos"]))["rooms"] == {}


async def test_odd_requests(alice: MatrixClient) -> None:
    fine = {"timeline_limit": 1, "required_state": []}
    odd: list[Any] = [
        {"conn_id": 5},
        {"lists": []},
        {"lists": {"a": {}}},
        {"lists": {"a": {**fine, "timeline_limit": -1}}},
        {"lists": {"a": {**fine, "timeline_limit": True}}},
        {"lists": {"a": {**fine, "ranges": [[0]]}}},
        {"lists": {"a": {**fine, "ranges": [[-1, 5]]}}},
        {"lists": {"a": {**fine, "filters": {"is_dm": 1}}}},
        {"lists": {"a": {**fine, "filters": {"room_types": [1]}}}},
        {"lists": {"a": {**fine, "required_state": [["a"]]}}},
        {"lists": {"a": {**fine, "required_state": {"include": [{"type": 1}]}}}},
        {"lists": {str(n): fine for n in range(101)}},
        {"room_subscriptions": {str(n): fine for n in range(101)}},
        {"extensions": {"to_device": {"enabled": True, "since": 5}}},
        {"extensions": {"typing": {"enabled": "yes"}}},
        {"set_presence": "odd"},
        {"timeout": "5"},
        {"pos": 5},
    ]
    for wish in odd:
        (await alice.post(UNSTABLE, wish)).is_error(400, "M_INVALID_PARAM")
    assert (await ask(alice, {}))["rooms"] == {}
    assert (await ask(alice, {"lists": {"a": {**fine, "ranges": [[2**60, 2**62], [5, 1]]}}}))["rooms"] == {}


async def test_cost_does_not_grow_with_the_rooms(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    """An answer reads as much with many rooms joined as with few: statements are counted."""
    counts = []
    for more in (2, 60):
        for _ in range(more):
            room_id = await make_room(alice, name="r")
        wish = body(ranges=[[0, 10_000]], conn_id=str(more))
        first = await ask(alice, wish)
        await say(alice, room_id, "x", f"{more}")
        warm = await ask(alice, wish, first["pos"])
        await say(alice, room_id, "y", f"y{more}")
        statements: list[str] = []
        homeserver.services.database._reader.set_trace_callback(statements.append)
        answer = await ask(alice, wish, warm["pos"])
        homeserver.services.database._reader.set_trace_callback(None)
        assert answer["rooms"].keys() == {room_id}
        counts.append(len(statements))
    assert counts[1] <= counts[0] + 2, counts
