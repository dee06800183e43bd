"""One message per device that is edited: what becomes of it (pure), over troubles, kills and choices of people."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.gateway.fake_homeserver import HS_TOKEN, FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, gateway, write_config
from tests.gateway.test_gateway_alerts_crash import deliver
from tests.gateway.test_gateway_crash import process
from tests.gateway.test_gateway_outbox import Door

from thingroom_common.database import Database
from thingroom_gateway import app
from thingroom_gateway.announce import Announcer
from thingroom_gateway.config import GatewayConfig, NoticesConfig
from thingroom_gateway.devices import ACTIVE, Device, Registry
from thingroom_gateway.matrix_event import EDIT_TYPE, MAX_NOTICE, edit_content
from thingroom_gateway.notices import MAX_EDITS, RENEW_MS, Live, Said, live_step
from thingroom_gateway.profiles import load_profiles
from thingroom_gateway.storage import live as store
from thingroom_gateway.storage import outbox as rows
from thingroom_gateway.storage.devices import DeviceRow, insert_device
from thingroom_gateway.storage.schema import MIGRATIONS

PROFILE = load_profiles()["climate"]
NOW = 1_800_000_000_000
MESSAGE = Live("Kitchen", "opening", NOW - 60_000)
SAID = Said({"temperature": "21.4", "humidity": "45"}, NOW - 60_000)


@pytest.mark.parametrize(
    ("live", "said", "latest", "ago_ms", "step"),
    [
        (None, None, "21.4", 0, "open"),
        (None, SAID, "21.5", 0, "open"),
        (MESSAGE, SAID, "21.5", 0, "edit"),
        (MESSAGE, SAID, "21.41", 0, "nothing"),
        (MESSAGE, SAID, "25", 45_000, "later"),
        (MESSAGE, SAID, "21.4", 45_000, "nothing"),
        (MESSAGE, SAID, "25", 61_000, "nothing"),
        (MESSAGE, replace(SAID, ts=NOW - PROFILE.at_most_ms), "21.4", 0, "edit"),
        (replace(MESSAGE, place="Attic"), SAID, "21.4", 0, "open"),
        (replace(MESSAGE, edits=MAX_EDITS), SAID, "25", 0, "open"),
        (replace(MESSAGE, opened_at=NOW - RENEW_MS), SAID, "25", 0, "open"),
    ],
    ids=["first", "none yet", "moved", "nobody would see it", "too soon", "nothing new", "older", "only time passed",
         "another room", "often edited", "a day old"],
)  # fmt: skip
def test_what_becomes_of_a_live_message(
    live: Live | None, said: Said | None, latest: str, ago_ms: int, step: str
) -> None:
    values = {"temperature": latest}
    assert live_step(PROFILE, live, said, "Kitchen", values, NOW - ago_ms, NOW, 30_000) == step


def test_an_edit_is_as_the_specification_says() -> None:
    content = json.loads(edit_content("$first", "Kitchen 21.4 °C (14:03)"))
    assert content == {
        "msgtype": "m.notice",
        "body": "* Kitchen 21.4 °C (14:03)",
        "m.mentions": {},
        "m.new_content": {"msgtype": "m.notice", "body": "Kitchen 21.4 °C (14:03)", "m.mentions": {}},
        "m.relates_to": {"rel_type": "m.replace", "event_id": "$first"},
    }
    assert len(edit_content("$" + "e" * 254, "😀" * 100_000).encode()) < 2 * 4 * MAX_NOTICE + 1000 < 65_536 - 16_000


class Rows:
    """An announcer over a database of its own, and what it put into the outbox."""

    def __init__(self, database: Database, device: Device) -> None:
        self.database = database
        self.device = device
        self.now = NOW
        self.announcer = Announcer(UTC, frozenset({"Kitchen"}), 30_000, lambda: self.now)

    async def read(self, tenths: int, after_ms: int = 31_000) -> None:
        self.now += after_ms
        latest = {"temperature": f"{tenths / 10}"}
        await self.database.write(lambda t: self.announcer.announce(t, self.device, latest, self.now))

    async def catch_up(self, after_ms: int) -> None:
        self.now += after_ms
        await self.database.write(lambda t: self.announcer.catch_up(t, self.device))

    def waiting(self) -> list[tuple[str, str]]:
        """Type and text of what waits, in order."""
        found = self.database.read(
            lambda c: c.execute("SELECT type, content FROM outbox WHERE parked IS NULL ORDER BY id").fetchall()
        )
        return [(row[0], json.loads(row[1])["body"]) for row in found]


@pytest.fixture
async def announced(tmp_path: Path) -> AsyncIterator[Rows]:
    database = await Database.open(tmp_path / "gateway.sqlite", MIGRATIONS)
    thing = Thing()
    row = DeviceRow(0, thing.kid, thing.public, thing.agreement_public, b"", "Kitchen", "Kitchen", "climate", ACTIVE, 1)
    stored = await database.write(lambda t: insert_device(t, row))
    yield Rows(database, Registry([stored], load_profiles()).by_id(stored.id))
    await database.close()


async def test_of_edits_that_wait_only_the_newest_goes_out(announced: Rows) -> None:
    for tenths in (214, 220, 225, 230):
        await announced.read(tenths)
    first, edit = announced.waiting()
    assert first == ("m.room.message", "Kitchen 21.4 °C (08:00)")
    assert edit[0] == EDIT_TYPE and edit[1].startswith("Kitchen 23.0 °C")
    # One that is under way when a newer one takes its place is not taken for it.
    row = announced.database.read(lambda c: rows.head(c, "Kitchen", 1))
    assert row is not None and row.type == EDIT_TYPE
    await announced.read(240)
    await announced.database.write(lambda t: rows.sent(t, row, "$edit", NOW))
    assert [text[:15] for _, text in announced.waiting()] == ["Kitchen 21.4 °C", "Kitchen 24.0 °C"]


async def test_edits_that_never_went_out_are_not_counted(announced: Rows) -> None:
    for tenths in range(200, 300):
        await announced.read(tenths)
    live = await announced.database.write(lambda t: store.load(t, announced.device.row.id))
    assert live is not None and live.edits == 1


async def test_a_removed_message_is_followed_by_a_new_one(announced: Rows) -> None:
    database, device = announced.database, announced.device.row.id
    await announced.read(214)
    opening = announced.database.read(lambda c: rows.head(c, "Kitchen", 0))
    assert opening is not None
    await database.write(lambda t: store.arrived(t, opening.txn_id, "$first"))
    await database.write(lambda t: rows.sent(t, opening, "$first", NOW))
    assert database.read(lambda c: store.event_of(c, opening.txn_id)) == "$first"
    await announced.read(220)
    await database.write(lambda t: store.redacted(t, ["$other", "$first"]))
    assert await database.write(lambda t: store.load(t, device)) is None
    await announced.read(230)
    kinds = [(kind, text[:15]) for kind, text in announced.waiting()]
    assert kinds == [("m.room.message", "Kitchen 23.0 °C")], "the edit of the removed message need not go out"


@pytest.mark.parametrize("live", [True, False], ids=["live", "notices"])
async def test_what_came_too_soon_is_said_when_the_time_has_come(announced: Rows, live: bool) -> None:
    database, device = announced.database, announced.device
    await database.write(lambda t: store.choose_for_place(t, "Kitchen", live))
    await announced.read(200)
    await announced.read(300, after_ms=1000)
    await announced.read(320, after_ms=1000)
    await announced.catch_up(1000)
    assert [text[:15] for _, text in announced.waiting()] == ["Kitchen 20.0 °C"]
    await announced.catch_up(60_000)
    await announced.catch_up(1000)
    assert [text[:15] for _, text in announced.waiting()] == ["Kitchen 20.0 °C", "Kitchen 32.0 °C"]
    # What came back to what was said is nothing to say.
    await announced.read(200, after_ms=1000)
    await announced.read(320, after_ms=1000)
    assert len(announced.waiting()) == 2
    assert database.read(store.devices_with_unsaid) == []
    # Nor is what became old meanwhile.
    await announced.read(200, after_ms=1000)
    assert database.read(store.devices_with_unsaid) == [device.row.id]
    await announced.catch_up(16 * 60_000)
    assert len(announced.waiting()) == 2 and database.read(store.devices_with_unsaid) == []


async def test_what_people_choose_goes_before_the_configuration(announced: Rows) -> None:
    database, row = announced.database, announced.device.row
    await database.write(lambda t: store.choose_for_place(t, "Kitchen", False))
    await announced.read(214)
    await announced.read(300, after_ms=120_000)
    assert [kind for kind, _ in announced.waiting()] == ["m.room.message"] * 2
    await database.write(lambda t: store.choose_for_device(t, row.id, True))
    await announced.read(200)
    await announced.read(210)
    assert [kind for kind, _ in announced.waiting()] == ["m.room.message"] * 3 + [EDIT_TYPE]
    await database.write(lambda t: store.choose_for_place(t, "Kitchen", False))
    assert database.read(lambda c: store.choice_of(c, row.id, "Kitchen")) is False
    assert database.read(lambda c: store.choice_of(c, row.id, "Attic")) is None


# --- with a homeserver -----------------------------------------------------------------------------------------------


@pytest.fixture
def live_config(config: GatewayConfig) -> GatewayConfig:
    return msgspec.structs.replace(config, notices=NoticesConfig(live=("*",), live_seconds=0.05))


async def reading(running: app.Gateway, thing: Thing, tenths: int) -> None:
    await Door(running).send(thing.envelope(payload=thing.pack(tenths, time.time_ns() // 1_000_000)))


def shown(homeserver: FakeHomeserver) -> list[str]:
    """The messages as a client shows them: each with its newest edit."""
    found: dict[str, str] = {}
    for event in homeserver.events("m.room.message"):
        content = event["content"]
        relation: dict[str, Any] = content.get("m.relates_to", {})
        if relation.get("rel_type") == "m.replace":
            assert relation["event_id"] in found
            assert content["body"] == "* " + content["m.new_content"]["body"]
            found[relation["event_id"]] = content["m.new_content"]["body"]
        else:
            found[event["event_id"]] = content["body"]
    return [text.rpartition(" (")[0] for text in found.values()]


async def test_one_message_over_restarts_and_lost_answers(
    live_config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    for round_, tenths in enumerate((200, 210, 220, 230)):
        # The message is there, and its answer is lost, also by the end of the gateway.
        homeserver.faults.append(Fault(drop=True, commit=True, match="/send/m.room.message/"))
        async with gateway(live_config, thing) as running:
            await reading(running, thing, tenths)
            await eventually(lambda t=tenths: shown(homeserver) == [f"Kitchen {t / 10} °C, 45 %"])  # type: ignore[misc]
            if round_ % 2:
                await eventually(lambda: running.core.database.read(rows.sizes) == (0, 0), seconds=30)
    assert len(shown(homeserver)) == 1


async def test_patience_costs_edits_and_no_batches(live_config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    body = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 300}
    async with gateway(live_config, thing) as running:
        await reading(running, thing, 200)
        await eventually(lambda: shown(homeserver) == ["Kitchen 20.0 °C, 45 %"], seconds=30)
        homeserver.faults.append(Fault(status=429, body=body, match="/send/", times=4))
        for tenths in range(201, 241):
            await reading(running, thing, tenths)
        await eventually(lambda: shown(homeserver) == ["Kitchen 24.0 °C, 45 %"], seconds=30)
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 42)), seconds=30)
    edits = [event for event in homeserver.events("m.room.message") if "m.new_content" in event["content"]]
    assert 0 < len(edits) < 40


async def test_a_redaction_in_a_transaction_ends_a_message(
    live_config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    import aiohttp

    thing = Thing()
    async with gateway(live_config, thing) as running, aiohttp.ClientSession() as session:
        await reading(running, thing, 200)
        await eventually(lambda: len(shown(homeserver)) == 1, seconds=30)
        await eventually(lambda: running.core.database.read(rows.sizes) == (0, 0), seconds=30)
        first = homeserver.events("m.room.message")[0]["event_id"]
        event = {
            "event_id": "$redaction", "room_id": "!room1", "sender": "@owner:home.test", "type": "m.room.redaction",
            "content": {"redacts": first}, "origin_server_ts": 1,
        }  # fmt: skip
        url = f"http://127.0.0.1:{live_config.appservice.port}/_matrix/app/v1/transactions/1"
        headers = {"Authorization": f"Bearer {HS_TOKEN}"}
        async with session.put(url, json={"events": [event]}, headers=headers) as answer:
            assert answer.status == 200
        await reading(running, thing, 300)
        await eventually(lambda: len(shown(homeserver)) == 2, seconds=30)
        assert shown(homeserver) == ["Kitchen 20.0 °C, 45 %", "Kitchen 30.0 °C, 45 %"]


async def test_an_edit_that_is_refused_is_followed_by_a_new_message(
    live_config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    async with gateway(live_config, thing) as running:
        await reading(running, thing, 200)
        await eventually(lambda: running.core.database.read(rows.sizes) == (0, 0), seconds=30)
        await eventually(lambda: len(shown(homeserver)) == 1, seconds=30)
        homeserver.faults.append(Fault(status=400, body={"errcode": "M_UNKNOWN"}, match="/send/m.room.message/"))
        await reading(running, thing, 300)
        await eventually(lambda: not homeserver.faults, seconds=30)
        await eventually(lambda: running.core.database.read(rows.sizes) == (0, 0), seconds=30)
        await reading(running, thing, 310)
        await eventually(lambda: shown(homeserver)[-1] == "Kitchen 31.0 °C, 45 %", seconds=30)
        assert len(shown(homeserver)) == 2


async def test_killed_at_random_there_is_one_message_with_the_newest_text(
    tmp_path: Path, live_config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    async with gateway(live_config, thing):
        pass
    config_file = write_config(tmp_path / "thingroom.toml", live_config)
    dice = random.Random(11)
    tenths = 200
    for _ in range(3):
        async with process(config_file, live_config) as running:
            for _ in range(dice.randint(1, 3)):
                tenths += 1
                payload = thing.pack(tenths, time.time_ns() // 1_000_000)
                await deliver(live_config, thing.envelope(payload=payload))
            # Any moment will do: nothing is awaited here, and nothing depends on which one it is.
            await asyncio.sleep(dice.uniform(0, 0.4))
            running.kill()
            await running.wait()
    async with gateway(live_config, thing) as here:
        tenths += 1
        await reading(here, thing, tenths)
        await eventually(lambda: shown(homeserver) == [f"Kitchen {tenths / 10} °C, 45 %"], seconds=60)
        await eventually(lambda: here.core.database.read(rows.sizes) == (0, 0), seconds=60)
    assert shown(homeserver) == [f"Kitchen {tenths / 10} °C, 45 %"]
    assert homeserver.sequences(thing.hex) == list(range(1, thing.sequence + 1))
