"""What is written of an event: nothing, one row for a whole room, or rows for users; and what a failure undoes."""

from __future__ import annotations

import re

import pytest
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape

from thingroom_homeserver.rooms.outcomes import Sender
from thingroom_homeserver.rooms.send_event import send_event


async def rows(homeserver: RunningHomeserver) -> tuple[int, int]:
    """How many rows are for whole rooms, and how many for single users."""
    found = homeserver.services.database.read(
        lambda c: c.execute(
            "SELECT (SELECT COUNT(*) FROM room_notifications), (SELECT COUNT(*) FROM user_notifications)"
        ).fetchone()
    )
    return int(found[0]), int(found[1])


async def room_of(owner: MatrixClient, others: list[MatrixClient]) -> str:
    room_id = (await owner.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
    for other in others:
        (await other.post(f"v3/join/{escape(room_id)}")).ok()
    return str(room_id)


async def say(homeserver: RunningHomeserver, who: MatrixClient, room_id: str, **content: object) -> None:
    content = {"msgtype": "m.text", "body": "tea", **content}
    await send_event(homeserver.services.rooms, Sender(who.user_id), room_id, "m.room.message", content, None)


async def test_rows_do_not_grow_with_the_room(homeserver: RunningHomeserver, alice: MatrixClient) -> None:
    others = [await homeserver.register(f"user{number}") for number in range(12)]
    room_id = await room_of(alice, others)
    assert await rows(homeserver) == (0, 0)
    await say(homeserver, alice, room_id, msgtype="m.notice")
    await say(homeserver, alice, room_id, body={"not": "text"})
    assert await rows(homeserver) == (1, 0), "a notice notifies nobody"
    await say(homeserver, alice, room_id, **{"m.mentions": {"user_ids": [others[0].user_id]}})
    assert await rows(homeserver) == (2, 1)
    for other in others[1:4]:
        (await other.put(f"v3/pushrules/global/room/{escape(room_id)}", {"actions": []})).ok()
    await say(homeserver, alice, room_id)
    assert await rows(homeserver) == (3, 1)
    for other in others[4:]:
        (await other.put(f"v3/pushrules/global/room/{escape(room_id)}", {"actions": []})).ok()
    await say(homeserver, alice, room_id)
    assert await rows(homeserver) == (3, 2), "one user only"


async def test_an_undone_write_leaves_no_trace(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await room_of(alice, [bob])
    rooms, database = homeserver.services.rooms, homeserver.services.database
    since = (await bob.get("v3/sync")).ok()["next_batch"]
    write = database.write

    class Undone(Exception):
        pass

    async def failing_write(function):  # type: ignore[no-untyped-def]
        def fail(transaction):  # type: ignore[no-untyped-def]
            function(transaction)
            raise Undone

        return await write(fail)

    database.write = failing_write  # type: ignore[method-assign]
    try:
        with pytest.raises(Undone):
            await send_event(rooms, Sender(alice.user_id), room_id, "m.room.message", {"body": "x"}, None)
    finally:
        database.write = write  # type: ignore[method-assign]
    assert await rows(homeserver) == (0, 0)
    await say(homeserver, bob, room_id)
    await say(homeserver, alice, room_id)
    room = (await bob.get("v3/sync", since=since)).ok()["rooms"]["join"][room_id]
    assert room["unread_notifications"] == {"notification_count": 1, "highlight_count": 0}


async def test_users_of_application_services_are_not_counted(
    homeserver: RunningHomeserver, alice: MatrixClient
) -> None:
    ghost = await homeserver.register("ghost")
    room_id = await room_of(alice, [ghost])
    await homeserver.services.database.write(
        lambda t: t.execute("UPDATE accounts SET appservice_id = 'x' WHERE user_id = ?", (ghost.user_id,)) and None
    )
    recorder = homeserver.services.push.recorder
    await homeserver.services.database.write(lambda t: recorder.account_data_changed(t, ghost.user_id, "m.push_rules"))
    await say(homeserver, alice, room_id)
    assert await rows(homeserver) == (0, 0)


async def test_no_statement_scans_a_table(
    homeserver: RunningHomeserver, alice: MatrixClient, bob: MatrixClient
) -> None:
    room_id = await room_of(alice, [bob])
    texts: list[str] = []
    database = homeserver.services.database
    for connection in (database._reader, database._writer):
        connection.set_trace_callback(texts.append)
    data = {"url": "https://push.invalid/_matrix/push/v1/notify"}
    pusher = {"kind": "http", "app_id": "a", "pushkey": "k", "app_display_name": "", "device_display_name": ""}
    (await bob.post("v3/pushers/set", {**pusher, "lang": "en", "data": data})).ok()
    await say(homeserver, alice, room_id, **{"m.mentions": {"user_ids": [bob.user_id]}})
    await say(homeserver, alice, room_id)
    await bob.get("v3/sync")
    await bob.get("v3/notifications", only="highlight")
    await homeserver.services.push.tidy(keep_rows=0)
    event_id = (await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b")).ok()["chunk"][0]["event_id"]
    (await bob.post(f"v3/rooms/{escape(room_id)}/receipt/m.read/{escape(event_id)}")).ok()
    (await bob.post("v3/pushers/set", {**pusher, "kind": None})).ok()
    for connection in (database._reader, database._writer):
        connection.set_trace_callback(None)
    ours = {text for text in texts if re.search(r"room_notif|user_notif|notification_marks|pushers", text)}
    ours = {text for text in ours if re.match(r"SELECT|UPDATE|DELETE", text)}
    assert len(ours) > 12
    for text in ours:
        for row in database._reader.execute(f"EXPLAIN QUERY PLAN {text}"):
            assert not re.match(r"SCAN (n|m|room_notifications|user_notifications|pushers)", row["detail"]), text
