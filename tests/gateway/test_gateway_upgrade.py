"""Databases of every earlier schema, with data in them, opened by this version; and the way back."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import stat
from pathlib import Path

import pytest
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, gateway, make_config

from thingroom_common.database import Database, Migration, SchemaTooNew
from thingroom_gateway import app
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.gateway_keys import load_or_make_keys
from thingroom_gateway.storage import outbox, received, series
from thingroom_gateway.storage.schema import MIGRATIONS
from thingroom_gateway.storage.upgrade import copy_before_upgrade

# The order in which the steps were released, whatever their order in the code.
RELEASED = (
    *("0001_gateway", "plain_0001_devices", "series_0001", "0033_bot", "commands_0001"),
    *(migration.name for migration in MIGRATIONS),
)
READINGS = '{"name":"temperature","ts":1794700800000,"value":"21.4"}'


def steps(number: int) -> list[Migration]:
    """The schema as it was after so many released steps, in the order in which they were applied then."""
    by_name = {migration.name: migration for migration in MIGRATIONS}
    return [by_name[name] for name in list(dict.fromkeys(RELEASED))[:number]]


def insert(connection: sqlite3.Connection, table: str, **values: object) -> None:
    """A row in the words of the first schema; columns that came later have their defaults."""
    columns = {row[1]: row for row in connection.execute(f"PRAGMA table_info({table})")}
    for name, (_, _, kind, required, default, _) in columns.items():
        if required and default is None and name not in values and name != "id":
            values[name] = {"TEXT": "ghost" if name == "sender" else "", "BLOB": b""}.get(kind, 0)
    names = ", ".join(values)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values()))


async def old_database(config: GatewayConfig, number: int, thing: Thing) -> Path:
    """One device with three envelopes of four, a request that waits, a room, counters."""
    config.directory.mkdir(parents=True, mode=0o700)
    load_or_make_keys(config.directory)
    path = config.directory / "gateway.sqlite"
    database = await Database.open(path, steps(number))
    await database.close()
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        insert(
            *(connection, "devices"),
            **{"id": 1, "kid": thing.kid, "device_key": thing.public, "agreement_key": thing.agreement_public},
            **{"downlink_key": bytes(32), "name": "Kitchen", "place": "Kitchen", "profile": "climate"},
            **{"status": "active", "enrolled_at": 1},
        )
        insert(connection, "arrivals", device=1, stored=3, taken=3)
        insert(connection, "received", device=1, first=1, last=2, predecessor=None)
        insert(connection, "received", device=1, first=4, last=4, predecessor=3)
        for arrival, sequence in enumerate((1, 2, 4), 1):
            insert(
                *(connection, "envelopes"),
                **{"device": 1, "arrival": arrival, "sequence": sequence, "received_at": 1794700800000},
                **{"transport": "mqtt", "ts": 1794700800000, "envelope": thing.envelope(sequence)},
                **{"readings": READINGS.replace("21.4", f"21.{sequence}").replace("00000,", f"0000{sequence},")},
            )
        insert(
            *(connection, "outbox"),
            **{"txn_id": "t1", "place": "Kitchen", "device": 1, "type": "m.room.message", "content": "{}", "ts": 5},
        )
        insert(connection, "rooms", place="Kitchen", room_id="!k:home.test", linked=1)
        insert(connection, "counters", name="mqtt.accepted", value=3)
    return path


@pytest.mark.parametrize("number", range(1, len(MIGRATIONS)))
async def test_what_was_kept_is_readable_and_goes_on(tmp_path: Path, number: int) -> None:
    config = make_config(tmp_path, "http://127.0.0.1:9")
    thing = Thing()
    path = await old_database(config, number, thing)
    async with app.opened_core(config) as core:
        device = core.registry.get(thing.kid)
        assert device is not None and (device.row.name, device.row.attested) == ("Kitchen", False)
        intervals = core.database.read(lambda c: received.intervals(c, 1))
        assert [(one.first, one.last, one.predecessor) for one in intervals] == [(1, 2, None), (4, 4, 3)]
        head = core.database.read(lambda c: outbox.head(c, "Kitchen", 0))
        assert head is not None and (head.txn_id, head.type) == ("t1", "m.room.message")
        assert core.counters["mqtt.accepted"] == 3
        assert '"21.4"' in core.database.read(lambda c: received.newest_readings(c, 1, 4))
    copies = list(config.directory.glob("*.before-step-*"))
    assert copies == [path.with_name(f"gateway.sqlite.before-step-{len(MIGRATIONS)}")]
    with contextlib.closing(sqlite3.connect(copies[0])) as connection:
        kept = [row[0] for row in connection.execute("SELECT name FROM schema_migrations")]
        assert sorted(kept) == sorted(migration.name for migration in steps(number)), "as it was before"
        assert connection.execute("SELECT count(*) FROM envelopes").fetchone() == (3,)
    assert stat.S_IMODE(copies[0].stat().st_mode) == 0o600


async def test_an_upgraded_gateway_runs_and_fills_in_the_history(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    config = make_config(tmp_path, homeserver.url)
    await old_database(config, 1, Thing())
    async with gateway(config) as running:
        await eventually(lambda: running.core.database.read(lambda c: series.latest(c, 1)), 60)
        latest = running.core.database.read(lambda c: series.latest(c, 1))
        assert str(latest["temperature"].value) == "21.4"
        assert running.core.enrolment is not None


async def test_no_copy_where_nothing_changes_and_one_of_the_newest_upgrade(tmp_path: Path) -> None:
    config = make_config(tmp_path, "http://127.0.0.1:9")
    path = await old_database(config, 3, Thing())
    assert copy_before_upgrade(tmp_path / "none.sqlite", MIGRATIONS) is None
    assert copy_before_upgrade(path, steps(3)) is None
    first = copy_before_upgrade(path, steps(4))
    assert first is not None and first.exists()
    second = copy_before_upgrade(path, MIGRATIONS)
    assert second is not None and second.exists() and not first.exists()
    assert copy_before_upgrade(path, MIGRATIONS) is None, "a killed upgrade goes on with the copy that it has"


async def test_a_database_of_a_later_version_is_refused_in_a_sentence_and_left_alone(tmp_path: Path) -> None:
    config = make_config(tmp_path, "http://127.0.0.1:9")
    path = await old_database(config, len(MIGRATIONS), Thing())
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema_migrations VALUES ('9999_of_tomorrow', 0)")
    before = hashlib.sha256(path.read_bytes()).digest()
    with pytest.raises(SchemaTooNew, match=r"gateway.sqlite was written by a later version .* 9999_of_tomorrow"):
        async with app.opened_core(config):
            raise AssertionError("it was opened")
    assert hashlib.sha256(path.read_bytes()).digest() == before
    assert not list(config.directory.glob("*.before-step-*"))


def test_the_list_of_released_steps_is_complete() -> None:
    assert set(RELEASED) == {migration.name for migration in MIGRATIONS}
