"""No statement of the encryption's tables reads a whole table."""

from __future__ import annotations

from tests.homeserver.encryption.key_support import Identity, Key, publish_device, query
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape

TABLES = ("device", "signatures", "signing_keys", "backup", "backed_up", "fallback", "one_time", "membership_changes")
KEY = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {}}


async def test_every_statement_uses_an_index(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    database = homeserver.services.database
    connections = (database._reader, database._writer)
    statements: set[str] = set()
    room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    since = (await alice.get("v3/sync")).ok()["next_batch"]
    for connection in connections:
        connection.set_trace_callback(statements.add)
    (await bob.post(f"v3/join/{escape(room_id)}")).ok()
    device_key, identity, bobs = Key(), Identity(alice.user_id), Identity(bob.user_id)
    await publish_device(alice, device_key)
    await publish_device(bob, Key())
    one_time = {"one_time_keys": {"a:b": "x"}, "fallback_keys": {"a:c": "x"}}
    (await alice.post("v3/keys/upload", one_time)).ok()
    claim = {"one_time_keys": {alice.user_id: {alice.device_id: "a"}}}
    for _ in range(2):
        (await bob.post("v3/keys/claim", claim)).ok()
    (await alice.post("v3/keys/device_signing/upload", identity.upload_body())).ok()
    (await bob.post("v3/keys/device_signing/upload", bobs.upload_body())).ok()
    signed = identity.user_signing.sign(bobs.master_json(), alice.user_id)
    (await alice.post("v3/keys/signatures/upload", {bob.user_id: {bobs.master.public: signed}})).ok()
    await query(alice, alice.user_id, bob.user_id)
    (await bob.put("v3/sendToDevice/t/1", {"messages": {alice.user_id: {"*": {}}}})).ok()
    synced = (await alice.get("v3/sync", since=since)).ok()
    assert synced["to_device"]["events"] and synced["device_lists"]["changed"]
    (await alice.get("v3/sync", since=synced["next_batch"])).ok()
    (await alice.get("v3/keys/changes", **{"from": since, "to": since})).ok()
    body = {"algorithm": "x", "auth_data": {}}
    version = (await alice.post("v3/room_keys/version", body)).ok()["version"]
    (await alice.put("v3/room_keys/keys/!r:l/s", KEY, version=version)).ok()
    for path in ("v3/room_keys/keys/!r:l/s", "v3/room_keys/keys/!r:l", "v3/room_keys/keys"):
        (await alice.get(path, version=version)).ok()
        (await alice.delete(path, version=version)).ok()
    (await alice.put(f"v3/room_keys/version/{version}", body)).ok()
    (await alice.delete(f"v3/room_keys/version/{version}")).ok()
    (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    (await alice.get("v3/sync", since=synced["next_batch"])).ok()
    await homeserver.services.accounts.deactivate(bob.user_id)
    (await alice.post("v3/logout")).ok()
    for connection in connections:
        connection.set_trace_callback(None)
    of_ours = [
        text
        for text in statements
        if text.startswith(("SELECT", "UPDATE", "DELETE")) and any(name in text for name in TABLES)
    ]
    assert len(of_ours) > 60
    plans = {text: [row["detail"] for row in connections[0].execute(f"EXPLAIN QUERY PLAN {text}")] for text in of_ours}
    assert {text: steps for text, steps in plans.items() if any(step.startswith("SCAN") for step in steps)} == {}
