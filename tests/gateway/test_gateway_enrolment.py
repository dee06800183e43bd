"""The registry in memory and the devices on disk never disagree to a reader, whatever becomes of the commit."""

import asyncio
import sqlite3

import pytest
from tests.gateway.gateway_support import Thing, make_config

from thingroom_gateway.app import opened_core
from thingroom_gateway.enrolment import Enrolled


@pytest.fixture
async def core(tmp_path):
    async with opened_core(make_config(tmp_path, "http://127.0.0.1:1")) as core:
        yield core


async def test_a_committed_device_is_known_to_whoever_reads_its_row(core):
    def ids(connection):
        return [row["id"] for row in connection.execute("SELECT id FROM devices")]

    async def watch():
        while True:
            for device in core.database.read(ids):
                core.registry.by_id(device)
            await asyncio.sleep(0)

    watching = asyncio.create_task(watch())
    for seed in range(1, 60):
        assert isinstance(await core.enrolment.enrol(Thing(seed).candidate), Enrolled)
    assert not watching.done()
    watching.cancel()


async def test_a_device_whose_commit_fails_is_not_known(core):
    def breaks_the_commit(transaction):
        transaction.execute("CREATE TABLE parent (id INTEGER PRIMARY KEY)")
        transaction.execute("CREATE TABLE child (id REFERENCES parent DEFERRABLE INITIALLY DEFERRED)")
        transaction.execute("INSERT INTO child VALUES (1)")

    thing = Thing()
    results = await asyncio.gather(
        core.enrolment.enrol(thing.candidate), core.database.write(breaks_the_commit), return_exceptions=True
    )
    assert all(isinstance(result, sqlite3.IntegrityError) for result in results)
    assert core.registry.get(thing.kid) is None
    assert len(core.registry) == 0
    assert isinstance(await core.enrolment.enrol(thing.candidate), Enrolled)

    results = await asyncio.gather(
        core.enrolment.revoke(thing.kid), core.database.write(breaks_the_commit), return_exceptions=True
    )
    assert all(isinstance(result, sqlite3.IntegrityError) for result in results)
    assert core.registry.get(thing.kid).row.status == "active"
