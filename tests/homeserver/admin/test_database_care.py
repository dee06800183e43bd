"""Backup of a running server and its way back, the check of the database, the list of rooms and a room's removal."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.homeserver.running import MatrixClient, escape, make_config, running_homeserver

from thingroom_common.database import Database
from thingroom_homeserver.admin.rooms import OF_EVENTS
from thingroom_homeserver.cli import homeserver_commands
from thingroom_homeserver.storage.schema import MIGRATIONS


def command(folder: Path, *words: str) -> Result:
    """`thingroom homeserver admin WORDS` for the data directory `folder`/data."""
    config = folder / "thingroom.toml"
    config.write_text('[homeserver]\ndata_directory = "data"\n')
    return CliRunner().invoke(homeserver_commands, ["admin", *words, "--config", str(config)])


async def room_with_messages(alice: MatrixClient, count: int, name: str = "Küche") -> str:
    room_id = (await alice.post("v3/createRoom", {"name": name})).ok()["room_id"]
    for number in range(count):
        path = f"v3/rooms/{escape(room_id)}/send/m.room.message/{number}"
        (await alice.put(path, {"msgtype": "m.text", "body": "x"})).ok()
    return room_id


async def test_a_running_server_is_backed_up_and_restored(tmp_path: Path) -> None:
    media = tmp_path / "data" / "media" / "ab"
    async with running_homeserver(make_config(tmp_path / "data")) as server:
        media.mkdir(parents=True)
        (media / "cd").write_bytes(b"picture")
        alice = await server.register("alice")
        room_id = await room_with_messages(alice, 5)
        writing = asyncio.create_task(room_with_messages(alice, 40))
        done = await asyncio.to_thread(command, tmp_path, "backup", str(tmp_path / "copy"))
        assert done.exit_code == 0, done.output
        await writing
        again = await asyncio.to_thread(command, tmp_path, "backup", str(tmp_path / "copy"))
        assert again.exit_code == 2 and "exists already" in again.output
        refused = await asyncio.to_thread(command, tmp_path, "restore", str(tmp_path / "copy"))
        assert refused.exit_code == 2 and "Another homeserver is running" in refused.output
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "copy" / "homeserver.db").stat().st_mode & 0o777 == 0o600

    refused = command(tmp_path, "restore", str(tmp_path / "copy"))
    assert refused.exit_code == 2 and "not empty" in refused.output
    other = tmp_path / "other"
    other.mkdir()
    restored = command(other, "restore", str(tmp_path / "copy"))
    assert restored.exit_code == 0, restored.output
    assert (other / "data" / "media" / "ab" / "cd").read_bytes() == b"picture"
    assert (other / "data" / "signing.key").read_bytes() == (tmp_path / "data" / "signing.key").read_bytes()
    assert command(other, "check-database").output == "The database is sound.\n"
    async with running_homeserver(make_config(other / "data")) as server:
        client = server.client(alice.token)
        assert len((await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=5)).ok()["chunk"]) == 5
        (await client.post("v3/createRoom")).ok()


async def test_what_is_no_backup_is_refused(tmp_path: Path) -> None:
    nothing = command(tmp_path, "backup", str(tmp_path / "copy"))
    assert nothing.exit_code == 2 and "no database" in nothing.output
    assert "not a backup" in command(tmp_path, "restore", str(tmp_path)).output
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "homeserver.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    damaged = command(tmp_path, "restore", str(tmp_path / "bad"))
    assert damaged.exit_code == 2 and "damaged" in damaged.output


DAMAGE = {
    "the current state has": "DELETE FROM current_state WHERE type = 'm.room.name'",
    "in the list of members": "DELETE FROM room_members",
    "is not in the database": "UPDATE forward_extremities SET event_id = '$gone'",
    "has no last event": "DELETE FROM forward_extremities",
    "beyond the stream's end": "UPDATE stream_position SET position = 1",
    "which counts as a last event": "INSERT INTO event_edges SELECT f.event_id, e.event_id "
    "FROM forward_extremities f, events e WHERE e.type = 'm.room.name'",
    "but has a place in the stream": "UPDATE events SET soft_failed = 1 WHERE type = 'm.room.name'",
    "has no place in the stream": "UPDATE events SET position = NULL WHERE type = 'm.room.message'",
    "or of another room": "UPDATE state_groups SET room_id = '!other:localhost'",
    "which was rejected": "UPDATE events SET rejected = 'x', position = NULL WHERE type = 'm.room.name'",
    "where nothing should be yet": "INSERT INTO gaps (room_id, floor, next) SELECT room_id, 0, 100 FROM rooms",
    "nothing is missing in gap": "INSERT INTO gaps (room_id, floor, next) SELECT room_id, 1000, 1001 FROM rooms",
    "which is there": "INSERT INTO gap_missing SELECT event_id, 1 FROM events WHERE type = 'm.room.name'",
    "not a state event": "UPDATE events SET type = 'm.other' WHERE type = 'm.room.name'",
}


@pytest.fixture
async def stopped(tmp_path: Path) -> Path:
    """A data directory with a room in it, of a server that is stopped."""
    async with running_homeserver(make_config(tmp_path / "data")) as server:
        await room_with_messages(await server.register("alice"), 1)
    return tmp_path


@pytest.fixture
def database(stopped: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(stopped / "data" / "homeserver.db")) as connection:
        yield connection


@pytest.mark.parametrize("words", DAMAGE)
def test_what_does_not_fit_together_is_found(stopped: Path, database: sqlite3.Connection, words: str) -> None:
    assert command(stopped, "check-database").exit_code == 0
    database.execute(DAMAGE[words])
    database.commit()
    checked = command(stopped, "check-database")
    assert checked.exit_code == 1 and words in checked.output


def test_a_damaged_file_is_found(stopped: Path) -> None:
    path = stopped / "data" / "homeserver.db"
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"\xff" * 4096
    path.write_bytes(data)
    checked = command(stopped, "check-database")
    assert checked.exit_code == 1 and "damage" in checked.output


async def test_rooms_are_listed_and_removed_once_they_are_left(tmp_path: Path) -> None:
    async with running_homeserver(make_config(tmp_path / "data")) as server:
        alice = await server.register("alice")
        kept, gone = await room_with_messages(alice, 2), await room_with_messages(alice, 3, "Bad\n\x1b[31m")
        running = await asyncio.to_thread(command, tmp_path, "purge-room", gone)
        assert running.exit_code == 2 and "is running" in running.output
    lines = command(tmp_path, "list-rooms").output.splitlines()
    assert [line.split()[0] for line in lines] == [gone, kept]
    assert "1 joined (1 local)" in lines[0] and lines[0].endswith("Bad[31m") and lines[1].endswith("Küche")

    inside = await asyncio.to_thread(command, tmp_path, "purge-room", gone)
    assert inside.exit_code == 2 and "1 of this server's users" in inside.output
    async with running_homeserver(make_config(tmp_path / "data")) as server:
        client = server.client(alice.token)
        since = (await client.get("v3/sync")).ok()["next_batch"]
        (await client.post(f"v3/rooms/{escape(gone)}/leave")).ok()
    removed = await asyncio.to_thread(command, tmp_path, "purge-room", gone)
    assert removed.exit_code == 0 and gone in removed.output, removed.output
    missing = await asyncio.to_thread(command, tmp_path, "purge-room", gone)
    assert "no room" in missing.output
    assert gone not in command(tmp_path, "list-rooms").output
    assert command(tmp_path, "check-database").output == "The database is sound.\n"
    with closing(sqlite3.connect(tmp_path / "data" / "homeserver.db")) as database:
        dump = "\n".join(database.iterdump())
        assert gone not in dump
        assert unreachable_words(database) == []
        lost = "SELECT COUNT(*) FROM state_group_deltas WHERE state_group NOT IN (SELECT id FROM state_groups)"
        assert database.execute(lost).fetchone()[0] == 0
        words = "SELECT COUNT(*) FROM event_search WHERE rowid NOT IN (SELECT position FROM events)"
        assert database.execute(words).fetchone()[0] == 0
    async with running_homeserver(make_config(tmp_path / "data")) as server:
        client = server.client(alice.token)
        (await client.get("v3/sync", since=since)).ok()
        (await client.get(f"v3/rooms/{escape(gone)}/state")).is_error(403, "M_FORBIDDEN")
        assert list((await client.get("v3/sync")).ok()["rooms"]["join"]) == [kept]


def unreachable_words(database: sqlite3.Connection) -> list[int]:
    """Rows of the search index whose events are gone."""
    rows = database.execute(
        "SELECT rowid FROM event_search WHERE rowid NOT IN (SELECT position FROM events WHERE position IS NOT NULL)"
    )
    return [row[0] for row in rows]


NOT_OF_ROOMS = re.findall(
    r"\S+",
    """
    access_tokens accounts appservice_streams bound_addresses cross_signing_keys destinations device_keys
    device_list_changes device_list_outbox device_list_streams device_list_told devices email_validations erasures
    external_ids fallback_keys filters key_backups key_signatures media media_usage one_time_keys outside_changes
    own_signature_changes presence profiles pushers received_transactions refresh_tokens registration_tokens
    remote_device_lists remote_devices remote_media schema_migrations server_key_documents server_keys short_tokens
    sliding_connections stream_position third_party_ids to_device_messages to_device_outbox to_device_transactions
    """,
)
"""Tables that a room's end leaves alone. A new table stands here, has a column room_id, or is in admin/rooms.py."""


async def test_a_purge_knows_every_table(tmp_path: Path) -> None:
    await (await Database.open(tmp_path / "homeserver.db", MIGRATIONS)).close()
    with closing(sqlite3.connect(tmp_path / "homeserver.db")) as database:
        schema = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        tables = {row[0] for row in database.execute(schema)}
        columns = {table: {row[1] for row in database.execute(f'PRAGMA table_info("{table}")')} for table in tables}
    shadows = {name for name in tables if name.startswith("event_search_")}
    named = {name for name in tables if "room_id" in columns[name]}
    assert tables == {*named, *shadows, *OF_EVENTS, *NOT_OF_ROOMS}
    assert not named & set(NOT_OF_ROOMS)
    for table in tables - named - shadows - set(OF_EVENTS):
        assert not {column for column in columns[table] if "room" in column or "event_id" in column}, table
