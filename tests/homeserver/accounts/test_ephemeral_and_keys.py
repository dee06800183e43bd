"""Typing, receipts and read markers, presence; encryption keys; the small endpoints."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from typing import Any

from tests.homeserver.running import MatrixClient, RunningHomeserver, escape, make_config, running_homeserver

SECRET = "a shared secret"


async def shared_room(alice: MatrixClient, bob: MatrixClient) -> str:
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    return room_id


async def send(client: MatrixClient, room_id: str, transaction_id: str) -> str:
    path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{transaction_id}"
    return (await client.put(path, {"msgtype": "m.text", "body": "hello"})).ok()["event_id"]


async def ephemeral(client: MatrixClient, room_id: str, since: str, timeout: int = 0) -> tuple[list[Any], str]:
    answer = (await client.get("v3/sync", since=since, timeout=timeout)).ok()
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return room.get("ephemeral", {}).get("events", []), answer["next_batch"]


async def test_typing_is_seen_and_ends(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await shared_room(alice, bob)
    path = f"v3/rooms/{escape(room_id)}/typing/{escape(alice.user_id)}"
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    (await alice.put(path, {"typing": True, "timeout": 30_000})).ok()
    events, since = await ephemeral(bob, room_id, since)
    assert events == [{"type": "m.typing", "content": {"user_ids": [alice.user_id]}}]
    (await alice.put(path, {"typing": True, "timeout": 30_000})).ok()
    assert (await ephemeral(bob, room_id, since))[0] == []
    (await alice.put(path, {"typing": False})).ok()
    events, since = await ephemeral(bob, room_id, since)
    assert events == [{"type": "m.typing", "content": {"user_ids": []}}]
    (await alice.put(path, {"typing": True, "timeout": 50})).ok()
    events, since = await ephemeral(bob, room_id, since, 5000)
    assert events[0]["content"]["user_ids"] == [alice.user_id]
    events, since = await ephemeral(bob, room_id, since, 5000)
    assert events[0]["content"]["user_ids"] == []


async def test_typing_errors(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = (await alice.post("v3/createRoom", {})).ok()["room_id"]
    path = f"v3/rooms/{escape(room_id)}/typing"
    (await bob.put(f"{path}/{escape(bob.user_id)}", {"typing": True})).is_error(403, "M_FORBIDDEN")
    (await bob.put(f"{path}/{escape(alice.user_id)}", {"typing": True})).is_error(403, "M_FORBIDDEN")
    (await alice.put(f"{path}/{escape(alice.user_id)}", {"typing": "yes"})).is_error(400, "M_BAD_JSON")
    (await alice.put(f"{path}/{escape(alice.user_id)}", {})).is_error(400, "M_MISSING_PARAM")


async def test_receipts_move_forward_and_private_ones_stay_private(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await shared_room(alice, bob)
    first, second = await send(alice, room_id, "1"), await send(alice, room_id, "2")
    base = f"v3/rooms/{escape(room_id)}/receipt"
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    bobs = (await bob.get("v3/sync")).ok()["next_batch"]
    (await bob.post(f"{base}/m.read/{escape(second)}")).ok()
    events, since = await ephemeral(alice, room_id, since)
    assert events[0]["type"] == "m.receipt"
    assert list(events[0]["content"]) == [second]
    assert list(events[0]["content"][second]["m.read"]) == [bob.user_id]
    assert isinstance(events[0]["content"][second]["m.read"][bob.user_id]["ts"], int)
    # Back to the first one: nothing changes.
    (await bob.post(f"{base}/m.read/{escape(first)}")).ok()
    assert (await ephemeral(alice, room_id, since))[0] == []
    (await bob.post(f"{base}/m.read.private/{escape(second)}")).ok()
    events, since = await ephemeral(alice, room_id, since)
    assert events == []
    events, _ = await ephemeral(bob, room_id, bobs)
    assert set(events[0]["content"][second]) == {"m.read", "m.read.private"}
    (await bob.post(f"{base}/m.read/{escape(second)}", {"thread_id": "main"})).ok()
    events, since = await ephemeral(alice, room_id, since)
    assert events[0]["content"][second]["m.read"][bob.user_id]["thread_id"] == "main"


async def test_receipt_errors(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await shared_room(alice, bob)
    event_id = await send(alice, room_id, "1")
    base = f"v3/rooms/{escape(room_id)}/receipt"
    (await bob.post(f"{base}/m.odd/{escape(event_id)}")).is_error(400, "M_INVALID_PARAM")
    (await bob.post(f"{base}/m.read/$nothing")).is_error(404, "M_NOT_FOUND")
    (await bob.post(f"{base}/m.read/{escape(event_id)}", {"thread_id": 5})).is_error(400, "M_INVALID_PARAM")
    threaded = await bob.post(f"{base}/m.fully_read/{escape(event_id)}", {"thread_id": "main"})
    threaded.is_error(400, "M_INVALID_PARAM")
    (await bob.post(f"v3/rooms/!other:localhost/receipt/m.read/{escape(event_id)}")).is_error(403, "M_FORBIDDEN")


async def test_read_markers(alice: MatrixClient, bob: MatrixClient) -> None:
    room_id = await shared_room(alice, bob)
    first, second = await send(alice, room_id, "1"), await send(alice, room_id, "2")
    path = f"v3/rooms/{escape(room_id)}/read_markers"
    (await bob.post(path, {"m.fully_read": second, "m.read": first})).ok()
    (await bob.post(path, {"m.fully_read": first})).ok()
    marker = f"v3/user/{escape(bob.user_id)}/rooms/{escape(room_id)}/account_data/m.fully_read"
    assert (await bob.get(marker)).ok() == {"event_id": second}
    joined = (await bob.get("v3/sync")).ok()["rooms"]["join"][room_id]
    assert {"type": "m.fully_read", "content": {"event_id": second}} in joined["account_data"]["events"]
    assert list(joined["ephemeral"]["events"][0]["content"]) == [first]
    (await bob.post(path, {})).ok()
    (await bob.post(path, {"m.fully_read": "$nothing"})).is_error(404, "M_NOT_FOUND")
    (await bob.post(path, {"m.fully_read": 1})).is_error(400, "M_BAD_JSON")


async def test_presence(alice: MatrixClient, bob: MatrixClient) -> None:
    path = f"v3/presence/{escape(alice.user_id)}/status"
    (await bob.get(path)).is_error(403, "M_FORBIDDEN")
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    assert (await bob.get(path)).ok() == {"presence": "offline"}
    (await alice.put(path, {"presence": "online", "status_msg": "baking"})).ok()
    answer = (await bob.get(path)).ok()
    assert answer.pop("last_active_ago") >= 0
    assert answer == {"presence": "online", "status_msg": "baking", "currently_active": True}
    (await bob.put(path, {"presence": "online"})).is_error(403, "M_FORBIDDEN")
    (await alice.put(path, {"presence": "odd"})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(path, {})).is_error(400, "M_MISSING_PARAM")
    (await bob.get("v3/presence/@nobody:localhost/status")).is_error(404, "M_NOT_FOUND")


def one_time_keys(*names: str) -> dict[str, Any]:
    return {f"signed_curve25519:{name}": {"key": f"key {name}", "signatures": {}} for name in names}


async def test_one_time_keys_are_given_out_once_in_order(alice: MatrixClient, bob: MatrixClient) -> None:
    first = await alice.post("v3/keys/upload", {"one_time_keys": one_time_keys("B")})
    assert first.ok() == {"one_time_key_counts": {"signed_curve25519": 1}}
    (await alice.post("v3/keys/upload", {"one_time_keys": one_time_keys("A")})).ok()
    fallback = {"signed_curve25519:F": {"key": "fallback", "fallback": True, "signatures": {}}}
    (await alice.post("v3/keys/upload", {"fallback_keys": fallback})).ok()
    synced = (await alice.get("v3/sync")).ok()
    assert synced["device_one_time_keys_count"]["signed_curve25519"] == 2
    assert synced["device_unused_fallback_key_types"] == ["signed_curve25519"]
    claim = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    got = []
    for _ in range(4):
        answer = (await bob.post("v3/keys/claim", claim)).ok()
        got += answer["one_time_keys"][alice.user_id][alice.device_id]
    assert [name.partition(":")[2] for name in got] == ["B", "A", "F", "F"]
    synced = (await alice.get("v3/sync")).ok()
    assert synced["device_unused_fallback_key_types"] == []
    assert synced["device_one_time_keys_count"] == {"signed_curve25519": 0}
    nobody = {"one_time_keys": {"@nobody:localhost": {"X": "signed_curve25519"}}}
    assert (await bob.post("v3/keys/claim", nobody)).ok() == {"one_time_keys": {}, "failures": {}}


async def test_claims_at_once_never_share_a_key(alice: MatrixClient, bob: MatrixClient) -> None:
    names = [f"K{number:02}" for number in range(20)]
    (await alice.post("v3/keys/upload", {"one_time_keys": one_time_keys(*names)})).ok()
    claim = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    answers = await asyncio.gather(*(bob.post("v3/keys/claim", claim) for _ in range(25)))
    got = [
        name
        for answer in answers
        for device in answer.ok()["one_time_keys"].values()
        for name in device[alice.device_id]
    ]
    assert sorted(name.partition(":")[2] for name in got) == names


async def test_device_keys_are_published(alice: MatrixClient, bob: MatrixClient) -> None:
    keys = {"user_id": alice.user_id, "device_id": alice.device_id, "algorithms": [], "keys": {"ed25519:X": "k"}}
    keys["signatures"] = {alice.user_id: {"ed25519:X": "s"}}
    (await alice.post("v3/keys/upload", {"device_keys": keys})).ok()
    (await alice.put(f"v3/devices/{alice.device_id}", {"display_name": "phone"})).ok()
    answer = (await bob.post("v3/keys/query", {"device_keys": {alice.user_id: []}})).ok()
    published = answer["device_keys"][alice.user_id][alice.device_id]
    assert published == {**keys, "unsigned": {"device_display_name": "phone"}}
    some = (await bob.post("v3/keys/query", {"device_keys": {alice.user_id: ["OTHER"], bob.user_id: []}})).ok()
    assert some["device_keys"] == {alice.user_id: {}, bob.user_id: {}}


async def test_key_errors(alice: MatrixClient) -> None:
    wrong = {"device_keys": {"user_id": "@bob:localhost", "device_id": alice.device_id}}
    (await alice.post("v3/keys/upload", wrong)).is_error(400, "M_INVALID_PARAM")
    for name in ("nocolon", ":x", "x:"):
        (await alice.post("v3/keys/upload", {"one_time_keys": {name: "k"}})).is_error(400, "M_INVALID_PARAM")
    (await alice.post("v3/keys/upload", {"one_time_keys": {"a:b": "one"}})).ok()
    (await alice.post("v3/keys/upload", {"one_time_keys": {"a:b": "one"}})).ok()
    (await alice.post("v3/keys/upload", {"one_time_keys": {"a:b": "two"}})).is_error(400, "M_INVALID_PARAM")
    keys = {"user_id": alice.user_id, "device_id": alice.device_id, "algorithms": [], "keys": {}}
    for wrong_shape in ({"algorithms": "x"}, {"keys": {"a": 1}}, {"signatures": {"@a:b": []}}):
        (await alice.post("v3/keys/upload", {"device_keys": {**keys, **wrong_shape}})).is_error(400, "M_BAD_JSON")
    large = {**keys, "keys": {"a:b": "x" * 70_000}}
    (await alice.post("v3/keys/upload", {"device_keys": large})).is_error(400, "M_TOO_LARGE")
    (await alice.post("v3/keys/upload", {"one_time_keys": {"a:c": "x" * 9000}})).is_error(400, "M_INVALID_PARAM")
    many = {f"algorithm{number}:k": "x" for number in range(21)}
    (await alice.post("v3/keys/upload", {"fallback_keys": many})).is_error(400, "M_TOO_LARGE")
    (await alice.post("v3/keys/query", {})).is_error(400, "M_MISSING_PARAM")
    (await alice.post("v3/keys/query", {"device_keys": {"@a:b": "X"}})).is_error(400, "M_INVALID_PARAM")
    (await alice.post("v3/keys/claim", {"one_time_keys": {"@a:b": []}})).is_error(400, "M_INVALID_PARAM")


async def test_small_endpoints(alice: MatrixClient, anyone: MatrixClient) -> None:
    versions = (await anyone.get("versions")).ok()["versions"]
    assert "v1.11" in versions
    capabilities = (await alice.get("v3/capabilities")).ok()["capabilities"]
    assert capabilities["m.room_versions"]["default"] == "12"
    assert capabilities["m.room_versions"]["available"]["12"] == "stable"
    assert (await alice.get("v3/voip/turnServer")).ok() == {}
    assert (await alice.get("v3/thirdparty/protocols")).ok() == {}
    (await alice.get("v3/thirdparty/location")).is_error(400, "M_MISSING_PARAM")
    (await alice.get("v3/thirdparty/location", alias="#a:localhost")).is_error(404, "M_NOT_FOUND")
    (await alice.get("v3/thirdparty/protocol/irc")).is_error(404, "M_NOT_FOUND")
    assert (await alice.get("v1/media/config")).ok()["m.upload.size"] > 0
    for path in ("v3/capabilities", "v3/voip/turnServer", "v3/thirdparty/protocols", "v1/media/config"):
        (await anyone.get(path)).is_error(401, "M_MISSING_TOKEN")


async def test_well_known(tmp_path, anyone: MatrixClient) -> None:
    (await anyone.get(".well-known/matrix/client")).is_error(404, "M_NOT_FOUND")
    config = make_config(tmp_path / "b", public_base_url="https://matrix.example.org")
    async with running_homeserver(config) as server:
        answer = await server.client().get(".well-known/matrix/client")
        assert answer.ok() == {"m.homeserver": {"base_url": "https://matrix.example.org"}}


def mac_of(nonce: str, name: str, password: str, admin: str) -> str:
    return hmac.new(SECRET.encode(), "\0".join((nonce, name, password, admin)).encode(), hashlib.sha1).hexdigest()


async def register_with_secret(server: RunningHomeserver, name: str, **changes: Any):
    path = "_synapse/admin/v1/register"
    nonce = (await server.client().get(path)).ok()["nonce"]
    body = {"nonce": nonce, "username": name, "password": "long enough", "admin": True}
    body["mac"] = mac_of(nonce, name, "long enough", "admin")
    return await server.client().post(path, {**body, **changes})


async def test_registration_with_the_shared_secret(tmp_path, anyone: MatrixClient) -> None:
    (await anyone.get("_synapse/admin/v1/register")).is_error(403, "M_FORBIDDEN")
    config = make_config(tmp_path / "b", registration="shared_secret", registration_shared_secret=SECRET)
    async with running_homeserver(config) as server:
        made = (await register_with_secret(server, "carol")).ok()
        assert made["user_id"] == "@carol:localhost"
        client = server.client(made["access_token"])
        assert (await client.get("v3/account/whoami")).ok()["user_id"] == "@carol:localhost"
        account = server.services.accounts.find("@carol:localhost")
        assert account is not None and account["is_admin"]
        (await register_with_secret(server, "carol")).is_error(400, "M_USER_IN_USE")
        (await register_with_secret(server, "dave", admin=False)).is_error(403, "M_FORBIDDEN")
        (await register_with_secret(server, "dave", mac="0" * 40)).is_error(403, "M_FORBIDDEN")
        (await register_with_secret(server, "dave", nonce="made up")).is_error(400, "M_UNKNOWN")
        body = {"username": "erin", "password": "long enough", "auth": {"type": "m.login.dummy"}}
        (await server.client().post("v3/register", body)).is_error(403, "M_FORBIDDEN")
