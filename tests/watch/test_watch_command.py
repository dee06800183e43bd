"""The command on our homeserver: logging in, every format, going on, being killed, what it reports."""

from __future__ import annotations

import asyncio
import contextlib
import csv
import json
import sqlite3
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.federation.federated_house import eventually
from tests.flows.gateway_stack import Device
from tests.free_port import free_port
from tests.homeserver.running import MatrixClient, RunningHomeserver, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS
from tests.watch.owners_house import Command, House, keep_account, lines_of, run
from tests.watch.signed_room import damaged

from thingroom_watch import FROM_BEGINNING, Judged, RoomTrust, Trust, Verdict, watch
from thingroom_watch.audit import Auditor
from thingroom_watch.journal import Journal
from thingroom_watch.session import Session
from thingroom_watch.watching import Watcher
from thingroom_wire.keys import thumbprint

VERIFIER = Path(__file__).parents[2] / "watch" / "verify_readings.py"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningHomeserver]:
    async with running_homeserver(make_config(tmp_path / "homeserver")) as running:
        yield running


@pytest.fixture
async def reader(server: RunningHomeserver) -> MatrixClient:
    return await server.register("reader")


@pytest.fixture
async def house(server: RunningHomeserver, reader: MatrixClient) -> House:
    bot = await server.register("thingroom")
    bot.sends_odd_events = True
    made = await House.build(bot)
    await made.invite(reader)
    return made


async def test_first_it_logs_in_and_later_goes_on(
    server: RunningHomeserver, reader: MatrixClient, house: House, tmp_path: Path
) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    await house.readings(kitchen, kitchen.climate(214, 45))
    home = tmp_path / "home"
    words = ("watch", "Kitchen", "--home", str(home), "--until-now")
    assert "log in once with --user" in (await _refused(*words))
    login = ("--user", reader.user_id, "--homeserver", server.base_url)
    out = await run(*words, *login, "--from-beginning")
    assert "-- Kitchen is new in the room" in out
    assert "temperature 21.4 Cel, humidity 45 %RH  #1  valid, consistent with the room's key" in out
    for file in ("account.json", "trust.json"):
        assert stat.S_IMODE((home / file).stat().st_mode) == 0o600
    assert await run(*words) == ""
    await house.readings(kitchen, kitchen.climate(215, 45))
    pinned = thumbprint(kitchen.public_key).hex()
    out = await run(*words, "--pin", pinned)
    assert out.count("\n") == 1
    assert "#2  valid, by the key that you pinned" in out


async def _refused(*words: str) -> str:
    async with Command(*words) as command:
        code, _, complaints = await command.finish()
    assert code == 2
    return complaints


async def test_every_format_has_what_was_found(reader: MatrixClient, house: House, tmp_path: Path) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    good = kitchen.climate(214, 45, 1_760_000_000_500)
    await house.readings(kitchen, good, good, damaged(good, -1))
    keep_account(tmp_path / "home", reader)

    async def written(kind: str) -> Path:
        file = tmp_path / f"out.{kind}"
        target = ("--to", f"{kind}:{file}", "--from-beginning", "--until-now")
        assert await run("watch", house.room_id, "--home", str(tmp_path / "home"), *target) == ""
        return file

    verdicts = ["notice", "valid", "valid", "replayed", "forged"]
    assert [row["verdict"] for row in csv.DictReader((await written("csv")).open())] == verdicts
    assert [line["verdict"] for line in lines_of(await written("jsonl"))] == verdicts
    [pack] = lines_of(await written("senml"))
    assert pack[0]["bn"].startswith("urn:dev:mac:")
    assert [(record["n"], record["u"], record["v"], record["t"]) for record in pack] == [
        ("temperature", "Cel", 21.4, 1_760_000_000.5),
        ("humidity", "%RH", 45.0, 1_760_000_000.5),
    ]
    with contextlib.closing(sqlite3.connect(await written("sqlite"))) as database:
        rows = database.execute("SELECT verdict, value, number, time FROM readings").fetchall()
    assert [row[0] for row in rows] == verdicts
    assert rows[1][1:] == ("21.4", 21.4, "2025-10-09T08:53:20.500Z")
    # Somebody else's program, on the raw events, agrees.
    raw = await written("raw")
    process = await asyncio.create_subprocess_exec(sys.executable, VERIFIER, raw, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert [line.split()[2] for line in said.decode().splitlines()] == ["valid", "replayed", "forged"]


async def test_a_file_of_something_else_is_left_alone(reader: MatrixClient, house: House, tmp_path: Path) -> None:
    keep_account(tmp_path / "home", reader)
    file = tmp_path / "out.csv"
    file.write_text("mine\n")
    words = ("watch", house.room_id, "--home", str(tmp_path / "home"), "--until-now", "--to", f"csv:{file}")
    async with Command(*words) as command:
        code, _, complaints = await command.finish()
    assert code == 1
    assert "move it away" in complaints
    assert file.read_text() == "mine\n"


async def test_a_date_leaves_out_what_was_before_and_keys_still_count(
    server: RunningHomeserver, reader: MatrixClient, house: House, tmp_path: Path
) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    await house.readings(kitchen, kitchen.climate(1, 1))
    path = f"v3/rooms/{house.room_id}/messages"
    newest = (await house.bot.get(path, dir="b", limit=1)).ok()["chunk"][0]["origin_server_ts"]
    await eventually(lambda: server.services.clock.now_ms() > newest)
    await house.readings(kitchen, kitchen.climate(2, 2))
    account = keep_account(tmp_path, reader)
    found = [one async for one in watch(account, house.room_id, since_ms=newest + 1, until_now=True)]
    numbers = [(one.sequence, one.verdict) for one in found if isinstance(one, Judged)]
    assert numbers == [(2, Verdict.VALID)]


async def test_the_library_reads_a_long_history_in_order(reader: MatrixClient, house: House, tmp_path: Path) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    for number in range(300):
        await house.readings(kitchen, kitchen.climate(number, 40))
    account, trust = keep_account(tmp_path, reader), RoomTrust()
    every = watch(account, house.room_id, since_ms=FROM_BEGINNING, until_now=True, trust=trust)
    found = [one async for one in every]
    assert [one.sequence for one in found if isinstance(one, Judged)] == list(range(1, 301))
    assert {one.trust for one in found if isinstance(one, Judged)} == {Trust.ROOM}
    assert trust.first == {"Kitchen": kitchen.kid.hex()}


@pytest.mark.parametrize("kind", ["jsonl", "sqlite"])
async def test_killed_at_any_moment_each_reading_is_there_once(
    kind: str, reader: MatrixClient, house: House, tmp_path: Path
) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    keep_account(tmp_path / "home", reader)
    file = tmp_path / f"out.{kind}"
    words = ("watch", house.room_id, "--home", str(tmp_path / "home"), "--from-beginning", "--to", f"{kind}:{file}")

    def numbers() -> list[int]:
        if kind == "jsonl":
            return [line["sequence"] for line in lines_of(file) if line.get("quantity") == "humidity"]
        with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
            rows = database.execute("SELECT sequence FROM readings WHERE quantity = 'humidity' ORDER BY rowid")
            return [row[0] for row in rows]

    async def send() -> None:
        for number in range(100):
            await house.readings(kitchen, kitchen.climate(number, 40))

    for _ in range(3):
        async with Command(*words) as command:
            sending = asyncio.create_task(send())
            if kind == "jsonl":
                already = len(lines_of(file))
                await eventually(lambda already=already: len(lines_of(file)) > already + 20)  # type: ignore[misc]
            else:
                await asyncio.sleep(1.5)
            command.process.kill()
            await command.finish()
            if kind == "jsonl":
                with file.open("a") as torn:
                    torn.write('{"kind": "rea')
            await sending
    await run(*words, "--until-now")
    assert numbers() == list(range(1, 301))


async def test_an_audit_tells_what_was(reader: MatrixClient, house: House, tmp_path: Path) -> None:
    kitchen, garden = Device("Kitchen"), Device("Garden")
    await house.device(kitchen)
    await house.device(garden)
    sent = [kitchen.climate(number, 40, 1_760_000_000_000 + number) for number in range(6)]
    await house.readings(kitchen, sent[0], sent[1], sent[4], sent[3], sent[4])
    keep_account(tmp_path / "home", reader)
    words = ("audit", "Kitchen", "--home", str(tmp_path / "home"))
    text = await run(*words)
    assert "4 envelopes, #1 to #5, 8 values" in text
    assert "missing    #3" in text
    await house.readings(kitchen, damaged(sent[5], -1))
    report = json.loads(await run(*words, "--json", wanted=1))
    assert report["forged"] == 1
    one = next(device for device in report["devices"] if device["name"] == "Kitchen")
    assert one["verdicts"] == {"valid": 4, "replayed": 1, "forged": 1}
    assert (one["late"], one["missing"], one["clocks"]) == (1, [[3, 3]], {"synchronised": 4})
    assert (one["first"], one["verified_share"]) == ("2025-10-09T08:53:20.000Z", 0.6667)
    assert [news["what"] for news in one["keys"]] == ["new"]


async def test_what_came_while_nobody_watched_is_told_in_order(
    reader: MatrixClient, house: House, tmp_path: Path
) -> None:
    kitchen = Device("Kitchen")
    await house.device(kitchen)
    account = keep_account(tmp_path, reader)
    auditor, told = Auditor(), 0
    for more in (1, 400, 3):
        for _ in range(more):
            await house.readings(kitchen, kitchen.climate(1, 40))
        async with Session(account) as session:
            await session.enter(house.room_id)
            journal = Journal(tmp_path / "journal")
            watcher = Watcher(session, journal, auditor, RoomTrust(), FROM_BEGINNING)
            await watcher.run(until_now=True)
            journal.close()
        told += more
        counted = auditor.devices[kitchen.kid.hex()]
        assert (counted.verdicts, counted.late) == ({"valid": told}, 0)
        assert watcher.verifier.gaps(kitchen.kid.hex()) == []


async def test_a_homeserver_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    config, kitchen, port = make_config(tmp_path / "homeserver"), Device("Kitchen"), free_port()
    home, file = tmp_path / "home", tmp_path / "out.jsonl"
    async with running_homeserver(config, port=port) as server:
        reader, bot = await server.register("reader"), await server.register("thingroom")
        bot.sends_odd_events = True
        house = await House.build(bot)
        await house.invite(reader)
        await house.device(kitchen)
        keep_account(home, reader)
        words = ("watch", house.room_id, "--home", str(home), "--to", f"jsonl:{file}")
        command = await Command(*words).start()
        await eventually(lambda: lines_of(file) != [])
    try:
        assert command.process.stderr is not None
        async with asyncio.timeout(PATIENCE_SECONDS):
            while b"cannot be reached, trying again" not in (line := await command.process.stderr.readline()):
                assert line, "it ended"
        async with running_homeserver(config, port=port) as server:
            house.bot.http = server.http
            await house.readings(kitchen, kitchen.climate(214, 45))
            await eventually(lambda: lines_of(file)[-1]["verdict"] == "valid")
    finally:
        command.process.kill()
        await command.finish()


async def test_nobody_there_to_log_in_at_is_said(tmp_path: Path) -> None:
    there = ("--user", "@me:example.org", "--homeserver", f"http://127.0.0.1:{free_port()}")
    async with Command("watch", "Kitchen", "--home", str(tmp_path), *there) as command:
        code, _, complaints = await command.finish()
    assert code == 1
    assert "Cannot connect" in complaints
