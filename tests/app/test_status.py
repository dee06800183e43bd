"""What `thingroom status` makes of what it hears: each part by itself, in words, with what to do."""

import asyncio
import io
from pathlib import Path

import aiohttp
import msgspec
import pytest
from rich.console import Console
from tests.free_port import free_port
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, gateway, make_config, write_config

from thingroom.status import HomeserverAnswer, Line, _words, judge, show
from thingroom_gateway.config import GatewayConfig, SerialConfig
from thingroom_gateway.status import Broker, Homeserver, Status

NOW = 1_800_000_000_000
UP = HomeserverAnswer("http://hs", software="Synapse 1.119.0", bot="@thingroom:home.test")


def status(**changes) -> Status:
    well = Status(
        running=True,
        version="0.1.0",
        server_name="home.test",
        directory="/nowhere/gateway",
        started_at=NOW - 3 * 86_400_000,
        homeserver=Homeserver(url="http://hs", last_ok_at=NOW - 4000),
        brokers=(Broker(devices="signed", address="127.0.0.1:1884", connected=True),),
        coap="127.0.0.1:5683",
        devices={"online": 2, "asleep": 1},
        rooms=3,
        disk_free=10,
        disk_total=20,
    )
    return msgspec.structs.replace(well, **changes)


@pytest.fixture
def config(tmp_path: Path) -> GatewayConfig:
    return GatewayConfig(data_directory=str(tmp_path))


def line(lines: list[Line], part: str) -> Line:
    found = [each for each in lines if each.part == part]
    assert len(found) == 1, lines
    return found[0]


def test_all_is_well(config):
    lines = judge(config, UP, status(), "", NOW)
    assert {each.state for each in lines} == {"ok"}
    assert line(lines, "Homeserver").text == "Synapse 1.119.0 at http://hs, the gateway is @thingroom:home.test"
    assert line(lines, "Gateway").text == "version 0.1.0, up for 3 days"
    assert line(lines, "Devices").text == "3 in 3 rooms: 1 asleep, 2 online"
    assert line(lines, "Outbox").text == "empty; the homeserver answered last 4 s ago"


@pytest.mark.parametrize(
    ("changes", "part", "text", "do"),
    [
        ({"stalled": True}, "Gateway", "cannot write to its database", "disk"),
        (
            {"brokers": (Broker(devices="plain", address="b:1883", connected=False),)},
            *("Plain MQTT", "not connected to b:1883", "[gateway.mqtt]"),
        ),
        ({"outbox_parked": 2}, "Outbox", "2 messages refused", "thingroom gateway retry-parked"),
        ({"outbox_waiting": 5, "outbox_oldest_at": NOW - 3_600_000}, "Outbox", "the oldest since 60 min", "move"),
        ({"devices": {"online": 1, "silent": 1}, "silent": ("Attic",)}, "Devices", "1 silent", "Look at Attic"),
        ({"brokers": (), "coap": ""}, "Links", "none is on", "[gateway.coap]"),
        ({"serial_wanted": ("/dev/ttyACM0",)}, "Serial", "not open: /dev/ttyACM0", "Plug the board in"),
    ],
)
def test_what_is_wrong(config, changes, part, text, do):
    wrong = line(judge(config, UP, status(**changes), "", NOW), part)
    assert wrong.state == "wrong"
    assert text in wrong.text and do in wrong.do


@pytest.mark.parametrize(
    ("changes", "part", "text"),
    [
        ({"rejected": {"mqtt.rejected.bad_signature": 3}}, "Rejected", "3 messages: 3 mqtt.rejected.bad_signature"),
        ({"quotas": {"coap.rejected.too_many": 9}}, "Limits", "reached: 9 coap.rejected.too_many"),
        ({"gaps": 2, "missing": {"lost": 1, "skipped": 9}}, "Lost", "1 message of devices is lost for good"),
        ({"devices": {}}, "Devices", "none yet"),
        ({"needs_restart": ("mqtt.host",)}, "Gateway", "version 0.1.0"),
        ({"outbox_waiting": 1, "outbox_oldest_at": NOW - 60_000, "running": False}, "Outbox", "1 message to be sent"),
    ],
)
def test_what_is_worth_a_note_is_nothing_wrong(config, changes, part, text):
    note = line(judge(config, UP, status(**changes), "", NOW), part)
    assert note.state == "note" and text in note.text


def test_a_pattern_of_ports_may_have_nothing_plugged_in(config):
    lines = judge(config, UP, status(serial_wanted=("/dev/serial/by-id/*",)), "", NOW)
    assert line(lines, "Serial").state == "ok"


def test_what_waits_while_the_homeserver_is_away_is_not_the_outbox_s_fault(config):
    away = HomeserverAnswer("http://hs", why="it does not answer in time")
    lines = judge(config, away, status(outbox_waiting=5, outbox_oldest_at=NOW - 3_600_000), "", NOW)
    assert (line(lines, "Homeserver").state, line(lines, "Outbox").state) == ("wrong", "note")


def test_a_gateway_that_never_ran(config):
    lines = judge(config, HomeserverAnswer("http://hs", bot_why="x.yaml does not exist"), None, "", NOW)
    assert "it has never run here" in line(lines, "Gateway").text
    assert "thingroom gateway register" in line(lines, "Homeserver").do


async def test_against_a_gateway_that_runs_and_then_does_not(tmp_path, capsys):
    async with FakeHomeserver.started() as homeserver:
        config = msgspec.structs.replace(
            make_config(tmp_path, homeserver.url), serial=SerialConfig(ports=("/dev/no*",))
        )
        file = write_config(tmp_path / "thingroom.toml", config)
        thing = Thing()
        async with gateway(config, thing) as running:
            running.core.counters.add("coap.rejected.bad_signature", 4)
            said, code = await _shown(file)
            assert code == 1 and "it answers 401" in said, "the stand-in for a homeserver knows nobody without a token"
            assert "up for" in said and "4 coap.rejected.bad_signature" in said and "1 never heard" in said
        said, code = await _shown(file)
        assert code == 1 and "it is not running" in said and "1 never heard" in said
    said, code = await _shown(file)
    assert code == 1 and "connection refused" in said


async def _shown(file: Path) -> tuple[str, int]:
    console = Console(file=io.StringIO(), width=200, highlight=False)
    code = await asyncio.to_thread(show, file, console, False, wait=60.0)
    return console.file.getvalue(), code  # type: ignore[attr-defined]


async def test_why_a_server_cannot_be_reached_is_in_plain_words():
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get(f"http://127.0.0.1:{free_port()}/")
    assert _words(raised.value) == "connection refused"
