"""Backups of room keys: versions, which key stays, counts and etags."""

from __future__ import annotations

from typing import Any

import pytest
from tests.homeserver.running import MatrixClient, escape

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOM = "!room:localhost"


def key(data: str = "x", *, verified: bool = False, index: int = 5, forwarded: int = 5) -> dict[str, Any]:
    return {
        "first_message_index": index,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ciphertext": data},
    }


async def new_backup(client: MatrixClient) -> str:
    answer = await client.post("v3/room_keys/version", {"algorithm": ALGORITHM, "auth_data": {"public_key": "k"}})
    return answer.ok()["version"]


async def test_versions(alice: MatrixClient, bob: MatrixClient) -> None:
    (await alice.get("v3/room_keys/version")).is_error(404, "M_NOT_FOUND")
    first, second = await new_backup(alice), await new_backup(alice)
    assert first != second
    expected = {
        "algorithm": ALGORITHM,
        "auth_data": {"public_key": "k"},
        "count": 0,
        "etag": "0",
        "version": second,
    }
    assert (await alice.get("v3/room_keys/version")).ok() == expected
    assert (await alice.get(f"v3/room_keys/version/{first}")).ok() == {**expected, "version": first}
    (await bob.get(f"v3/room_keys/version/{first}")).is_error(404, "M_NOT_FOUND")
    path = f"v3/room_keys/version/{second}"
    changed = {"algorithm": ALGORITHM, "auth_data": {"public_key": "other"}}
    (await alice.put(path, changed)).ok()
    (await alice.put(path, {**changed, "version": second})).ok()
    assert (await alice.get(path)).ok()["auth_data"] == {"public_key": "other"}
    (await alice.put(path, {**changed, "version": first})).is_error(400, "M_INVALID_PARAM")
    (await alice.put(path, {**changed, "algorithm": "other"})).is_error(400, "M_INVALID_PARAM")
    (await alice.put("v3/room_keys/version/77", changed)).is_error(404, "M_NOT_FOUND")
    (await alice.delete(path)).ok()
    (await alice.delete(path)).ok()
    (await alice.delete("v3/room_keys/version/77")).is_error(404, "M_NOT_FOUND")
    (await alice.get(path)).is_error(404, "M_NOT_FOUND")
    assert (await alice.get("v3/room_keys/version")).ok()["version"] == first
    assert await new_backup(alice) not in (first, second)


async def test_keys_of_all_rooms_of_one_and_single_ones(alice: MatrixClient, bob: MatrixClient) -> None:
    version = await new_backup(alice)
    base = "v3/room_keys/keys"
    body = {"rooms": {ROOM: {"sessions": {"a": key("a"), "b": key("b")}}}}
    assert (await alice.put(base, body, version=version)).ok() == {"count": 2, "etag": "1"}
    one_room = {"sessions": {"c": key("c")}}
    assert (await alice.put(f"{base}/!other:localhost", one_room, version=version)).ok() == {"count": 3, "etag": "2"}
    assert (await alice.put(f"{base}/{ROOM}/d", key("d"), version=version)).ok() == {"count": 4, "etag": "3"}
    everything = (await alice.get(base, version=version)).ok()
    assert everything["rooms"]["!other:localhost"] == one_room
    assert set(everything["rooms"][ROOM]["sessions"]) == {"a", "b", "d"}
    assert (await alice.get(f"{base}/{ROOM}/a", version=version)).ok() == key("a")
    assert (await alice.get(f"{base}/!none:localhost", version=version)).ok() == {"sessions": {}}
    (await alice.get(f"{base}/{ROOM}/none", version=version)).is_error(404, "M_NOT_FOUND")
    in_base64 = f"{base}/{escape('!a/b:localhost')}/{escape('s/e+s=')}"
    (await alice.put(in_base64, key("e"), version=version)).ok()
    assert (await alice.get(in_base64, version=version)).ok() == key("e")
    (await alice.delete(in_base64, version=version)).ok()
    (await bob.get(base, version=version)).is_error(404, "M_NOT_FOUND")
    assert (await alice.delete(f"{base}/{ROOM}/a", version=version)).ok() == {"count": 3, "etag": "6"}
    assert (await alice.delete(f"{base}/{ROOM}/a", version=version)).ok() == {"count": 3, "etag": "6"}
    assert (await alice.delete(f"{base}/{ROOM}", version=version)).ok() == {"count": 1, "etag": "7"}
    assert (await alice.delete(base, version=version)).ok() == {"count": 0, "etag": "8"}
    assert (await alice.get(base, version=version)).ok() == {"rooms": {}}


@pytest.mark.parametrize(
    ("held", "offered", "replaced"),
    [
        ({}, {"verified": True, "index": 9, "forwarded": 9}, True),
        ({"verified": True, "index": 9, "forwarded": 9}, {"index": 0, "forwarded": 0}, False),
        ({}, {"index": 4, "forwarded": 9}, True),
        ({}, {"index": 6, "forwarded": 0}, False),
        ({}, {"forwarded": 4}, True),
        ({}, {"forwarded": 6}, False),
        ({}, {}, False),
    ],
)
async def test_the_better_key_stays(alice: MatrixClient, held: Any, offered: Any, replaced: bool) -> None:
    version = await new_backup(alice)
    path = f"v3/room_keys/keys/{ROOM}/s"
    (await alice.put(path, key("held", **held), version=version)).ok()
    answer = (await alice.put(path, key("offered", **offered), version=version)).ok()
    assert answer == {"count": 1, "etag": "2" if replaced else "1"}
    kept = (await alice.get(path, version=version)).ok()["session_data"]["ciphertext"]
    assert kept == ("offered" if replaced else "held")


async def test_keys_go_to_the_current_backup_only(alice: MatrixClient) -> None:
    old, current = await new_backup(alice), await new_backup(alice)
    answer = await alice.put(f"v3/room_keys/keys/{ROOM}/s", key(), version=old)
    answer.is_error(403, "M_WRONG_ROOM_KEYS_VERSION")
    assert answer.body["current_version"] == current
    (await alice.put(f"v3/room_keys/keys/{ROOM}/s", key(), version="99")).is_error(404, "M_NOT_FOUND")
    assert (await alice.get("v3/room_keys/keys", version=old)).ok() == {"rooms": {}}


async def test_backup_errors(alice: MatrixClient, anyone: MatrixClient) -> None:
    (await anyone.get("v3/room_keys/version")).is_error(401, "M_MISSING_TOKEN")
    (await alice.post("v3/room_keys/version", {"algorithm": ALGORITHM})).is_error(400, "M_MISSING_PARAM")
    (await alice.post("v3/room_keys/version", {"algorithm": 1, "auth_data": {}})).is_error(400, "M_BAD_JSON")
    version = await new_backup(alice)
    path = f"v3/room_keys/keys/{ROOM}/s"
    (await alice.put(path, key())).is_error(400, "M_MISSING_PARAM")
    (await alice.get("v3/room_keys/keys")).is_error(400, "M_MISSING_PARAM")
    for wrong in (
        {"first_message_index": -1},
        {"first_message_index": True},
        {"forwarded_count": 2**63},
        {"is_verified": 1},
        {"session_data": "x"},
    ):
        (await alice.put(path, {**key(), **wrong}, version=version)).is_error(400, "M_BAD_JSON")
    (await alice.put("v3/room_keys/keys", {"rooms": {ROOM: []}}, version=version)).is_error(400, "M_BAD_JSON")
    (await alice.get("v3/room_keys/version/x")).is_error(404, "M_NOT_FOUND")
