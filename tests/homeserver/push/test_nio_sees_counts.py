"""A client in use, matrix-nio, sees the counts go up and down."""

from __future__ import annotations

import nio
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape


async def test_matrix_nio_sees_unread_counts(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    bob = await homeserver.register("bob")
    client = nio.AsyncClient(homeserver.base_url, bob.user_id)
    client.restore_login(bob.user_id, bob.device_id, bob.token or "")
    try:
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        assert isinstance(await client.join(room_id), nio.JoinResponse)
        content = {"msgtype": "m.text", "body": "hello", "m.mentions": {"user_ids": [bob.user_id]}}
        path = f"v3/rooms/{escape(room_id)}/send/m.room.message"
        await alice.put(f"{path}/1", {"msgtype": "m.text", "body": "hello"})
        event_id = (await alice.put(f"{path}/2", content)).ok()["event_id"]
        await client.sync(timeout=0)
        room = client.rooms[room_id]
        assert (room.unread_notifications, room.unread_highlights) == (2, 1)
        await client.room_read_markers(room_id, event_id, event_id)
        await client.sync(timeout=0)
        assert (room.unread_notifications, room.unread_highlights) == (0, 0)
    finally:
        await client.close()
