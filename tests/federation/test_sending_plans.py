"""No statement of sending reads a whole table: what it costs is what is to be sent, or the rooms of one server."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from tests.federation.remote_member import remote_member
from tests.homeserver.room_support import open_house

from thingroom_common.database import Transaction
from thingroom_homeserver.storage import destinations, device_list_outbox, remote_devices, room_servers
from thingroom_homeserver.storage.destinations import Cursors
from thingroom_homeserver.storage.memberships import joined_remote_users, newest_join

ALICE, BOB = "@alice:localhost", "@bob:two.test"
MAY_BE_SCANNED = ("stream_position", "CONSTANT ROW", "subquery", "destinations_failing", "event_search_config")


def scans(connection: sqlite3.Connection, statement: str) -> list[str]:
    plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]
    return [step for step in plan if step.startswith("SCAN") and not any(name in step for name in MAY_BE_SCANNED)]


async def test_every_statement_uses_an_index(tmp_path: Path):
    async with open_house(tmp_path / "db") as house:
        database = house.rooms.database
        statements: set[str] = set()
        for connection in (database._reader, database._writer):
            connection.set_trace_callback(statements.add)
        room_id = await house.create("alice", preset="public_chat")
        await remote_member(house.rooms, room_id, BOB)
        await house.say("alice", room_id, "hello")

        def read(connection: sqlite3.Connection) -> None:
            for function in (room_servers.servers_in_room, joined_remote_users, remote_devices.followed_users_in):
                function(connection, room_id)
            room_servers.is_server_in_room(connection, room_id, "two.test")
            room_servers.servers_at(connection, room_id, 5)
            room_servers.servers_sharing_with(connection, ALICE)
            room_servers.server_shares_with(connection, ALICE, "two.test")
            room_servers.servers_entered(connection, 0, 5)
            destinations.load_destination(connection, "two.test")
            destinations.failing_destinations(connection)
            destinations.events_after(connection, 0, 5)
            assert destinations.missed_count(connection, "two.test", 0, 2**40, 5) == 1
            assert len(destinations.missed_events(connection, "two.test", 0, 2**40)) == 1
            position, _ = destinations.rooms_missed(connection, "two.test", 0, 2**40, 5)[0]
            destinations.event_at(connection, position)
            destinations.to_device_waiting(connection, "two.test")
            destinations.first_to_device(connection, "two.test", 5)
            destinations.receipts_after(connection, 0, 5)
            destinations.presence_after(connection, 0, 5)
            device_list_outbox.first_queued(connection, "two.test", 5)
            device_list_outbox.told_upto(connection, "two.test", ALICE)
            remote_devices.known_list(connection, BOB)
            remote_devices.devices_of(connection, BOB)
            newest_join(connection, BOB)

        def write(transaction: Transaction) -> None:
            destinations.save_transaction(transaction, "two.test", Cursors(1, 1, 1), b"{}")
            destinations.save_failing(transaction, "two.test", 1, 1, 1)
            destinations.save_recovered(transaction, "two.test")
            destinations.queue_to_device(transaction, "two.test", "{}", 5)
            destinations.delete_to_device(transaction, "two.test", 5)
            destinations.drop_old_to_device(transaction, 5)
            device_list_outbox.queue_all_devices(transaction, ALICE, ["two.test"])
            device_list_outbox.queue_changes(transaction, ALICE, ["A", ""], ["two.test"])
            device_list_outbox.settle(transaction, "two.test", [(ALICE, "A", 1)])
            remote_devices.set_list(transaction, BOB, 1)
            remote_devices.mark_stale(transaction, BOB)
            remote_devices.set_device(transaction, BOB, "A", "{}", None)
            remote_devices.delete_device(transaction, BOB, "A")

        database.read(read)
        await database.write(write)
        await remote_member(house.rooms, room_id, BOB, "leave")
        await remote_member(house.rooms, room_id, BOB)
        for connection in (database._reader, database._writer):
            connection.set_trace_callback(None)
        assert len(statements) > 40
        found = {
            text: scanned
            for text in statements
            if text.split(None, 1)[0] in ("SELECT", "WITH", "UPDATE", "DELETE", "INSERT")
            and (scanned := scans(database._reader, text))
        }
        assert found == {}
