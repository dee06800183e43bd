"""EDUs of other servers: each for its own users, in rooms that they are in, within limits; and never a failure."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from tests.federation.federated_house import eventually
from tests.federation.peers import Authority, Peer, running_peer
from tests.federation.remote_member import remote_member
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.federation.shared_room import Syncing, say
from tests.homeserver.encryption.key_support import Identity, Key, query
from tests.homeserver.running import MatrixClient, escape

ORIGIN = "elsewhere.test"
EVE = f"@eve:{ORIGIN}"
STRANGER = f"@stranger:{ORIGIN}"
KINDS = (
    "m.typing",
    "m.receipt",
    "m.presence",
    "m.direct_to_device",
    "m.device_list_update",
    "m.signing_key_update",
    "m.unknown",
)


@dataclass
class Place:
    """Alice's room on our server; Eve of another server is in it."""

    peer: Peer
    alice: MatrixClient
    room_id: str
    seen: Syncing
    event_id: str

    async def tell(self, kind: str, content: Any, origin: str = ORIGIN) -> None:
        await self.peer.services.federation.edus.handle(origin, {"edu_type": kind, "content": content})


@pytest.fixture
async def place(tmp_path: Path, authority: Authority) -> AsyncIterator[Place]:
    async with running_peer(tmp_path / "one", authority) as peer:
        alice = await peer.register("alice")
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        await remote_member(peer.services.rooms, room_id, EVE)
        event_id = await say(alice, room_id, "hello")
        seen = Syncing(alice)
        await seen.step()
        yield Place(peer, alice, room_id, seen, event_id)


async def test_typing_is_taken_of_members_only(place: Place):
    def typing(user_id: str, room_id: str = place.room_id) -> dict[str, Any]:
        return {"room_id": room_id, "user_id": user_id, "typing": True}

    await place.tell("m.typing", typing(STRANGER))
    await place.tell("m.typing", typing(EVE), origin="liar.test")
    await place.tell("m.typing", typing(place.alice.user_id))
    await place.tell("m.typing", typing(EVE, "!nowhere:x"))
    await place.seen.step()
    assert place.seen.typing == []
    await place.tell("m.typing", typing(EVE))
    await place.seen.until(lambda: place.seen.typing == [EVE])
    await place.tell("m.typing", {**typing(EVE), "typing": False})
    await place.seen.until(lambda: place.seen.typing == [])


async def test_a_denied_server_says_nothing_of_the_room(place: Place):
    acl = {"allow": ["*"], "deny": [ORIGIN]}
    (await place.alice.put(f"v3/rooms/{escape(place.room_id)}/state/m.room.server_acl/", acl)).ok()
    await place.tell("m.typing", {"room_id": place.room_id, "user_id": EVE, "typing": True})
    await place.tell("m.receipt", {place.room_id: {"m.read": {EVE: receipt(place.event_id)}}})
    await place.seen.step()
    assert place.seen.typing == [] and place.seen.receipts == []


def receipt(event_id: str, **data: Any) -> dict[str, Any]:
    return {"event_ids": [event_id], "data": {"ts": 1, **data}}


async def test_receipts_are_taken_of_members_and_move_forwards_only(place: Place):
    later = await say(place.alice, place.room_id, "later")

    async def tell(user_id: str, content: Any, kind: str = "m.read", origin: str = ORIGIN) -> None:
        await place.tell("m.receipt", {place.room_id: {kind: {user_id: content}}}, origin)

    for bad in (
        None,
        {"event_ids": [], "data": {"ts": 1}},
        {"event_ids": [place.event_id], "data": {}},
        {"event_ids": [place.event_id], "data": {"ts": "1"}},
        {"event_ids": ["no id"], "data": {"ts": 1}},
        receipt(place.event_id, thread_id=5),
        receipt(place.event_id, thread_id="$unknown_root"),
    ):
        await tell(EVE, bad)
    await tell(STRANGER, receipt(later))
    await tell(EVE, receipt(later), kind="m.read.private")
    await tell(EVE, receipt(later), origin="liar.test")
    await place.seen.step()
    assert place.seen.receipts == []
    await tell(EVE, receipt(later, thread_id="main"))
    await tell(EVE, receipt(later))
    await tell(EVE, receipt(place.event_id))
    await place.seen.step()
    assert place.seen.receipts == [{later: {"m.read": {EVE: {"ts": 1}}}}]


async def test_presence_is_taken_of_users_who_share_a_room(place: Place):
    def update(user_id: str, **more: Any) -> dict[str, Any]:
        return {"user_id": user_id, "presence": "online", "last_active_ago": 10, **more}

    push = [
        update(EVE, currently_active=True, status_msg="here"),
        update(STRANGER),
        update("@other:liar.test"),
        {"user_id": EVE, "presence": "dancing"},
        None,
        5,
    ]
    await place.tell("m.presence", {"push": push})
    await place.seen.until(lambda: EVE in {event["sender"] for event in place.seen.presence})
    assert {event["sender"] for event in place.seen.presence} - {place.alice.user_id} == {EVE}
    content = next(event["content"] for event in place.seen.presence if event["sender"] == EVE)
    assert (content["presence"], content["currently_active"], content["status_msg"]) == ("online", True, "here")
    (await place.alice.get(f"v3/presence/{escape(STRANGER)}/status")).is_error(403, "M_FORBIDDEN")


async def test_messages_to_devices_are_taken_once_each(place: Place):
    device = place.alice.device_id

    def message(number: int, message_id: str, **changes: Any) -> dict[str, Any]:
        messages = {place.alice.user_id: {device: {"n": number}}, "@bob:liar.test": {"X": {}}}
        return {"sender": EVE, "type": "org.example.ping", "message_id": message_id, "messages": messages, **changes}

    await place.tell("m.direct_to_device", message(1, "one"))
    await place.tell("m.direct_to_device", message(1, "one"))
    await place.tell("m.direct_to_device", message(2, "two", sender="@other:liar.test"))
    await place.tell("m.direct_to_device", message(3, ""))
    await place.tell("m.direct_to_device", message(4, "four", type=None))
    await place.tell("m.direct_to_device", message(2**70, "big"))
    await place.tell("m.direct_to_device", message(5, "five"))
    await place.seen.until(lambda: len(place.seen.to_device) >= 2)
    await place.seen.step()
    assert [event["content"]["n"] for event in place.seen.to_device] == [1, 5]


class RemoteUser:
    """Rita of a scripted server: her devices, as that server tells of them."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.user_id = f"@rita:{server.server_name}"
        self.devices: dict[str, dict[str, Any]] = {}
        self.stream_id = 10
        self.asked = 0
        server.on("GET", r"/_matrix/federation/v1/user/devices/.*", self._answer)

    def keys(self, device_id: str, **changes: Any) -> dict[str, Any]:
        key = Key()
        keys = {
            "user_id": self.user_id,
            "device_id": device_id,
            "algorithms": ["m.megolm.v1.aes-sha2"],
            "keys": {f"ed25519:{device_id}": key.public},
        }
        return {**key.sign(keys, self.user_id, f"ed25519:{device_id}"), **changes}

    def _answer(self, request: Any, body: Any) -> dict[str, Any]:
        self.asked += 1
        devices = [{"device_id": name, "keys": keys} for name, keys in self.devices.items()]
        return {"user_id": self.user_id, "stream_id": self.stream_id, "devices": devices}


@pytest.fixture
async def rita(place: Place, authority: Authority) -> AsyncIterator[RemoteUser]:
    async with scripted_server(authority, strict=False) as server:
        user = RemoteUser(server)
        await remote_member(place.peer.services.rooms, place.room_id, user.user_id)
        yield user


async def known(place: Place, user: RemoteUser) -> set[str]:
    """The devices that a client is told of."""
    return set((await query(place.alice, user.user_id))["device_keys"].get(user.user_id, {}))


async def test_updates_of_devices_follow_each_other_and_a_gap_is_filled(place: Place, rita: RemoteUser):
    rita.devices["ONE"] = rita.keys("ONE")
    assert await known(place, rita) == {"ONE"}
    assert await known(place, rita) == {"ONE"} and rita.asked == 1

    async def update(device_id: str, stream_id: int, previous: list[int], **more: Any) -> None:
        content = {"user_id": rita.user_id, "device_id": device_id, "stream_id": stream_id, "prev_id": previous, **more}
        await place.tell("m.device_list_update", content, rita.server.server_name)

    rita.devices["TWO"] = rita.keys("TWO")
    rita.stream_id = 11
    await update("TWO", 11, [10], keys=rita.devices["TWO"])
    await place.seen.until(lambda: rita.user_id in place.seen.changed)
    assert await known(place, rita) == {"ONE", "TWO"} and rita.asked == 1
    # The same again, as in a transaction that is sent twice.
    await update("TWO", 11, [10], deleted=True)
    assert await known(place, rita) == {"ONE", "TWO"}
    # Keys of somebody else, or of another device.
    await update("BAD", 12, [11], keys=rita.keys("OTHER"))
    await update("BAD", 12, [11], keys={**rita.keys("BAD"), "user_id": EVE})
    assert await known(place, rita) == {"ONE", "TWO"} and rita.asked == 1
    # 12 is missing: the list is fetched anew, without anybody asking for it.
    place.seen.changed.clear()
    rita.devices["THREE"] = rita.keys("THREE")
    del rita.devices["ONE"]
    rita.stream_id = 13
    await update("THREE", 13, [12], keys=rita.devices["THREE"])
    await place.seen.until(lambda: rita.user_id in place.seen.changed)
    assert rita.asked == 2
    assert await known(place, rita) == {"TWO", "THREE"}
    await update("THREE", 14, [13], deleted=True)
    assert await known(place, rita) == {"TWO"} and rita.asked == 2


async def test_a_gap_that_cannot_be_filled_is_asked_for_with_the_next_query(place: Place, rita: RemoteUser):
    rita.devices["ONE"] = rita.keys("ONE")
    assert await known(place, rita) == {"ONE"}
    rita.server.on("GET", r"/_matrix/federation/v1/user/devices/.*", lambda *_: web.json_response({}, status=500))
    content = {"user_id": rita.user_id, "device_id": "TWO", "stream_id": 20, "prev_id": [19]}
    await place.tell("m.device_list_update", content, rita.server.server_name)
    await place.seen.until(lambda: rita.user_id in place.seen.changed)
    answer = await query(place.alice, rita.user_id)
    # What was known is better than nothing, and the client hears that it may be old.
    assert answer["device_keys"][rita.user_id].keys() == {"ONE"}
    assert answer["failures"].keys() == {rita.server.server_name}
    rita.server.on("GET", r"/_matrix/federation/v1/user/devices/.*", rita._answer)
    rita.devices["TWO"] = rita.keys("TWO")
    rita.stream_id = 20

    async def is_filled() -> bool:
        return await known(place, rita) == {"ONE", "TWO"}

    await eventually(is_filled, pause=0.1)


async def test_what_a_server_says_of_others_users_is_left_out(place: Place, rita: RemoteUser):
    """The answer names other users, other devices, and things that are no keys."""
    rita.devices["GOOD"] = rita.keys("GOOD")
    rita.devices["WRONG"] = rita.keys("OTHER")
    rita.devices["BIG"] = rita.keys("BIG", padding=2**70)
    rita.devices["HUGE"] = rita.keys("HUGE", padding="x" * 100_000)
    rita.devices["ODD"] = 5  # type: ignore[assignment]
    assert await known(place, rita) == {"GOOD"}
    keys = dict.fromkeys(("a", "signed_curve25519:x"), 5)
    claimed = {"one_time_keys": {rita.user_id: {"GOOD": keys, "X": {}}, place.alice.user_id: {"Y": {"a:b": "c"}}}}
    rita.server.on("POST", r"/_matrix/federation/v1/user/keys/claim", claimed)
    wanted = {rita.user_id: {"GOOD": "signed_curve25519", "MORE": "signed_curve25519"}}
    assert (await place.alice.post("v3/keys/claim", {"one_time_keys": wanted})).ok()["one_time_keys"] == {}


async def test_signing_keys_must_belong_together(place: Place, rita: RemoteUser):
    identity, other = Identity(rita.user_id), Identity(rita.user_id)
    body = identity.upload_body()
    origin = rita.server.server_name

    async def keys() -> tuple[Any, Any]:
        answer = await query(place.alice, rita.user_id)
        return answer["master_keys"].get(rita.user_id), answer["self_signing_keys"].get(rita.user_id)

    assert await keys() == (None, None)
    forged = {"master_key": body["master_key"], "self_signing_key": other.upload_body()["self_signing_key"]}
    await place.tell("m.signing_key_update", {"user_id": rita.user_id, **forged}, origin)
    spoilt = {"master_key": {**body["master_key"], "padding": 2**70}}
    await place.tell("m.signing_key_update", {"user_id": rita.user_id, **spoilt}, origin)
    master, self_signing = await keys()
    assert master["keys"] == body["master_key"]["keys"] and self_signing is None
    await place.tell("m.signing_key_update", {"user_id": rita.user_id, **body}, "liar.test")
    assert (await keys())[1] is None
    await place.tell("m.signing_key_update", {"user_id": rita.user_id, **body}, origin)
    assert (await keys())[1]["keys"] == body["self_signing_key"]["keys"]
    await place.seen.until(lambda: rita.user_id in place.seen.changed)


async def test_nothing_that_servers_send_makes_it_fail(place: Place):
    chance = random.Random(5)
    values = [None, True, 0, -1, 2**70, 1.5, "", "x", EVE, place.room_id, place.alice.user_id, "\0", [], {}]
    names = [
        *("room_id", "user_id", "typing", "push", "presence", "m.read", "event_ids", "data", "ts", "sender", "type"),
        *("message_id", "messages", "device_id", "stream_id", "prev_id", "keys", "deleted", "master_key", "usage"),
        *(EVE, place.room_id, place.alice.user_id, place.alice.device_id, "*", "self_signing_key", "algorithms"),
    ]

    def odd(depth: int = 0) -> Any:
        if depth < 4 and chance.random() < 0.6:
            if chance.random() < 0.3:
                return [odd(depth + 1) for _ in range(chance.randrange(4))]
            return {chance.choice(names): odd(depth + 1) for _ in range(chance.randrange(6))}
        return chance.choice(values)

    handle = place.peer.services.federation.edus.handle
    for _ in range(1500):
        content = odd()
        if isinstance(content, dict) and chance.random() < 0.7:
            content |= {"user_id": EVE, "sender": EVE, "room_id": place.room_id}
        await handle(ORIGIN, {"edu_type": chance.choice(KINDS), "content": content})
        await handle(ORIGIN, odd())
    assert (await place.alice.get("v3/sync")).status == 200
