"""`thingroom history`, `export`, `chart`, and the gateway's backup: with and without a gateway that runs."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import sqlite3
import stat
import time
from decimal import Decimal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from PIL import Image
from tests.gateway.gateway_support import Thing, eventually, gateway, write_config
from tests.gateway.series_support import DAY, HOUR, MINUTE, START, every, store

from thingroom.cli import main
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.outcomes import Accepted, Frame, Outcome
from thingroom_gateway.series.reading import SeriesReading


def run(config_file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(config_file)])


@pytest.fixture
async def config_file(tmp_path: Path) -> Path:
    """A store whose "Kitchen" and "Attic" are of the profile climate, read in Berlin."""
    data = tmp_path / "data"
    data.mkdir()
    async with store(data) as stored:
        await stored.database.write(lambda t: t.execute("UPDATE devices SET profile = 'climate'"))
        await stored.add(*every(10 * MINUTE, START, START + 3 * DAY, ["20.00", "21.0", "-0.04"]))
        await stored.add(*every(HOUR, START, START + DAY, ["45", "46.50"], "humidity"))
        await stored.add(SeriesReading("temperature", START + 5, "1.5", 2, 1), device=stored.attic)
    path = tmp_path / "thingroom.toml"
    path.write_text(f'[gateway]\ndata_directory = "{data}"\ntimezone = "Europe/Berlin"\n')
    return path


def test_history_of_few_readings_shows_them_in_local_time(config_file: Path) -> None:
    shown = run(config_file, "history", "kitchen", "--from", "2026-11-15 01:00", "--to", "2026-11-15 01:31")
    assert shown.exit_code == 0, shown.output
    head, titles, *lines = shown.output.splitlines()
    assert "Kitchen" in head and "time of Europe/Berlin" in head
    assert titles.split() == ["time", "Temperature", "°C", "Humidity", "%"]
    assert [line.split()[1:] for line in lines] == [
        ["01:00:00", "20.0", "45"],
        ["01:10:00", "21.0"],
        ["01:20:00", "0.0"],
        ["01:30:00", "20.0"],
    ]


def test_history_of_many_readings_sums_up_local_days(config_file: Path) -> None:
    shown = run(
        config_file, "history", "Kitchen", "temperature", "--from", "2026-11-15", "--to", "2026-11-19", "--by", "day"
    )
    days = [line.split() for line in shown.output.splitlines()[2:]]
    # The readings begin at 01:00 in Berlin and end at 01:00 three days later.
    assert days == [[f"2026-11-{day}", "13.7", "0.0", "21.0"] for day in (15, 16, 17, 18)]
    assert len(run(config_file, "history", "Kitchen", "--from", "2026-11-15").output.splitlines()) <= 50
    nothing = run(config_file, "history", "Kitchen", "--last", "1h")
    assert nothing.output.endswith("No readings.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("history", "Cellar"), "there is no device Cellar; there are: Attic, Kitchen"),
        (("history", "Kitchen", "colour"), "Kitchen has no colour; it has temperature, humidity."),
        (("history", "Kitchen", "--last", "soon"), "'soon' is no span of time"),
        (("history", "Kitchen", "--from", "the day after"), "'the day after' is no time"),
        (("history", "Kitchen", "--from", "today", "--last", "1h"), "not both"),
        (("history", "Kitchen", "--from", "2026-11-16", "--to", "2026-11-15"), "ends before it begins"),
        (("export", "Kitchen", "--last", "-1h"), "is no span of time"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(config_file: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run(config_file, *arguments)
    assert result.exit_code != 0
    assert said in " ".join(result.output.split())


def test_without_a_database_or_with_an_old_one(tmp_path: Path) -> None:
    config_file = tmp_path / "thingroom.toml"
    config_file.write_text(f'[gateway]\ndata_directory = "{tmp_path}"\n')
    assert "the gateway has not run here" in run(config_file, "history", "Kitchen").output
    sqlite3.connect(tmp_path / "gateway.sqlite").execute("CREATE TABLE devices (id)").connection.close()
    assert "start the gateway once" in run(config_file, "history", "Kitchen").output
    config_file.write_text(f'[gateway]\ndata_directory = "{tmp_path}"\ntimezone = "Mars/Olympus"\n')
    assert "there is no time zone 'Mars/Olympus'" in run(config_file, "history", "Kitchen").output


def test_csv_and_json_lines_have_exact_values_and_utc(config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    result = run(config_file, "export", "all", "-o", str(target))
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader(io.StringIO(target.read_text(encoding="utf-8"), newline="")))
    assert len(rows) == 432 + 24 + 1
    assert not list(tmp_path.glob("*.unfinished"))
    assert [row["time"] for row in rows[:432]] == sorted(row["time"] for row in rows[:432])
    assert {row["value"] for row in rows} == {"20.00", "21.0", "-0.04", "45", "46.50", "1.5"}
    assert (rows[-1]["name"], rows[-1]["time"], rows[-1]["clock"]) == ("Attic", "2026-11-15T00:00:00.005Z", "unset")
    lines = run(config_file, "export", "Kitchen", "--format", "jsonl", "--quantity", "humidity").output.splitlines()
    assert len(lines) == 24
    first, second = (json.loads(line, parse_float=Decimal) for line in lines[:2])
    assert first["value"] == 45
    assert str(second["value"]) == "46.50"
    assert second["time"] == "2026-11-15T01:00:00.000Z"
    assert second["unit"] == "%RH"


def test_senml_is_a_pack_by_the_rules(config_file: Path) -> None:
    result = run(config_file, "export", "Kitchen", "Attic", "--format", "senml", "--to", "2026-11-15 02:00")
    pack = json.loads(result.output, parse_float=Decimal)
    check_senml(pack)
    assert [record["bn"] for record in pack if "bn" in record] == ["urn:dev:mac:c2dd64422cb9518f_", pack[-1]["bn"]]
    assert len(pack) == 6 + 1 + 1
    assert {"n": "temperature", "t": 1_794_701_400, "u": "Cel", "v": Decimal("21.0")} in pack
    assert pack[-1]["t"] == Decimal("1794700800.005")
    empty = run(config_file, "export", "Kitchen", "--format", "senml", "--to", "2026-11-14")
    assert json.loads(empty.output) == []


def check_senml(pack: list[dict[str, object]]) -> None:
    """RFC 8428 sections 4 and 5: the fields, their types, one value each, names of the allowed characters."""
    labels = {
        "bn": str,
        "bver": int,
        "n": str,
        "u": str,
        "v": (int, Decimal),
        "vb": bool,
        "vs": str,
        "t": (int, Decimal),
    }
    base = ""
    for record in pack:
        assert set(record) <= set(labels)
        assert all(isinstance(value, labels[label]) for label, value in record.items())  # type: ignore[arg-type]
        base = str(record.get("bn", base))
        name = base + str(record.get("n", ""))
        assert name[0].isalnum() and set(name) <= set(
            "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-:./_"
        )
        assert len({"v", "vb", "vs"} & set(record)) == 1
        assert record["t"] >= 2**28  # type: ignore[operator]


def test_a_chart_is_a_picture(config_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "kitchen.png"
    result = run(
        config_file, "chart", "Kitchen", "temperature", "Humidity", "--from", "2026-11-15", "--to", "2026-11-18",
        "-o", str(target),
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with Image.open(target) as picture:
        assert (picture.format, picture.size) == ("PNG", (1000, 600))
    assert target.stat().st_size < 100_000
    both = run(config_file, "chart", "Kitchen,Attic", "temperature", "-o", str(target))
    assert both.exit_code == 0, both.output


class _Link:
    def __init__(self) -> None:
        self.outcomes: list[Outcome] = []

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        self.outcomes += [outcome for _, outcome in settled]

    def resume(self) -> None:
        raise AssertionError("there was room")


async def test_all_of_it_while_a_gateway_runs(config: GatewayConfig, tmp_path: Path) -> None:
    """Each accepted envelope is in the series with its commit; a second copy adds nothing; backup and restore."""
    config_file = write_config(tmp_path / "thingroom.toml", config)
    thing, link = Thing(), _Link()
    now = time.time_ns() // 1_000_000
    async with gateway(config, thing) as running:
        seen: list[tuple[str, dict[str, str]]] = []
        running.ingest.observed.append(lambda device, observed: seen.append((device.kid_hex, observed.latest)))
        envelopes = [thing.envelope(n, thing.pack(200 + n, now - n * 1000)) for n in range(1, 21)]
        for payload in [*envelopes, *envelopes[:5]]:
            assert running.ingest.offer(Frame("up", payload, "coap"), link)
        await eventually(lambda: len(link.outcomes) == 25)
        assert sum(type(outcome) is Accepted for outcome in link.outcomes) == 20
        assert len(seen) == 20
        assert seen[0] == (thing.hex, {"temperature": "20.1", "humidity": "45.2"})
        shown = await asyncio.to_thread(run, config_file, "history", "Kitchen", "temperature")
        assert shown.exit_code == 0, shown.output
        values = sorted(line.split()[-1] for line in shown.output.splitlines()[2:])
        assert values == [f"{n / 10}" for n in range(201, 221)]
        assert "°C" in shown.output
        folder = tmp_path / "backup"
        made = await asyncio.to_thread(run, config_file, "gateway", "backup", str(folder))
        assert made.exit_code == 0, made.output
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {0o600}
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        again = await asyncio.to_thread(run, config_file, "gateway", "backup", str(folder))
        assert "exists already" in again.output
        over = await asyncio.to_thread(run, config_file, "gateway", "restore", str(folder))
        assert "is not empty" in over.output
        signing = running.core.keys.signing_public
    config.directory.rename(tmp_path / "lost")
    Path(config.registration_file).unlink()
    back = await asyncio.to_thread(run, config_file, "gateway", "restore", str(folder))
    assert back.exit_code == 0, back.output
    async with gateway(config) as running:
        assert running.core.keys.signing_public == signing
        assert running.core.registry.get(thing.kid) is not None
        shown = await asyncio.to_thread(run, config_file, "export", "Kitchen", "--format", "jsonl")
        assert len(shown.output.splitlines()) == 40


async def test_a_damaged_backup_is_not_restored(config: GatewayConfig, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    folder.mkdir()
    config_file = write_config(tmp_path / "thingroom.toml", config)
    assert "it has no gateway.sqlite" in run(config_file, "gateway", "restore", str(folder)).output
    (folder / "gateway.sqlite").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    assert "is damaged" in run(config_file, "gateway", "restore", str(folder)).output
    assert not (config.directory / "gateway.sqlite").exists()
