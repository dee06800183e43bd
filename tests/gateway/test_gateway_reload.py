"""The configuration read again while the gateway runs: what changes at once, what waits, what a bad file does."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from tests.gateway.fake_homeserver import FakeHomeserver
from tests.gateway.gateway_support import Thing, eventually, make_config, write_config
from tests.gateway.serial_cable import Plug
from tests.gateway.test_gateway_crash import REPOSITORY

from thingroom_gateway import app
from thingroom_gateway.cli import gateway_commands
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.enrolment import Enrolled
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.profiles import profile_directory
from thingroom_gateway.reload import flat

PRESET = """
[[alerts]]
name = "mould"
kind = "above"
quantity = "humidity"
threshold = "70"
hysteresis = "1"
text = "It is damp."

"""


def changed(config: GatewayConfig, **sections: Any) -> GatewayConfig:
    """`config` with other keys; a dict changes keys of a section."""
    new = {
        name: msgspec.structs.replace(getattr(config, name), **value) if isinstance(value, dict) else value
        for name, value in sections.items()
    }
    return msgspec.structs.replace(config, **new)


@dataclass
class Home:
    """A gateway that runs, and its file."""

    running: app.Gateway
    file: Path
    config: GatewayConfig
    thing: Thing = field(default_factory=Thing)

    def write(self, **sections: Any) -> None:
        write_config(self.file, changed(self.config, **sections))

    def reload(self, **sections: Any) -> tuple[str, ...]:
        """Change the file, read it again; the keys that are in use now."""
        self.write(**sections)
        done = self.running.reload.read_again()
        assert not done.error, done.error
        return done.changed


@contextlib.asynccontextmanager
async def home(config: GatewayConfig, directory: Path) -> AsyncIterator[Home]:
    file = write_config(directory / "thingroom.toml", config)
    async with app.running(config, EventsOut(None), asyncio.Event(), partial(load, file)) as running:
        here = Home(running, file, config)
        assert isinstance(await running.core.enrolment.enrol(here.thing.candidate), Enrolled)
        yield here


async def test_what_can_change_does(config: GatewayConfig, tmp_path: Path) -> None:
    async with home(config, tmp_path) as here:
        running = here.running
        assert here.reload() == ()
        done = here.reload(
            limits={"devices": 1, "keep_days": 3},
            history={"readings_days": 5},
            commands={"waiting": 2},
            homeserver={"retry_seconds": (9.0,)},
            batch={"seconds": 7.0},
        )
        assert done == (
            *("batch.seconds", "commands.waiting", "history.readings_days", "homeserver.retry_seconds"),
            *("limits.devices", "limits.keep_days"),
        )
        assert running.outbox.back_off == (9.0,)
        assert running.commands is not None and running.commands.config.waiting == 2
        assert running.batching.limits.seconds == 7.0
        assert running.reload.config.limits.keep_days == 3
        refused = await running.core.enrolment.enrol(Thing(2, name="One too many").candidate)
        assert getattr(refused, "reason", "") == "too_many_devices"
        here.reload()
        assert isinstance(await running.core.enrolment.enrol(Thing(2, name="Welcome").candidate), Enrolled)


async def test_serial_ports_come_and_go(config: GatewayConfig, tmp_path: Path) -> None:
    plug = Plug(tmp_path / "board", lambda _data: None)
    plug.plug_in()
    try:
        async with home(config, tmp_path) as here:
            serial = here.running.serial
            assert here.reload(serial={"ports": (str(plug.path),)}) == ("serial.ports",)
            await eventually(lambda: serial.open_ports == [str(plug.path)], 30)
            here.reload()
            await eventually(lambda: serial.open_ports == [], 30)
    finally:
        plug.unplug()


async def test_profiles_are_read_again_with_their_alerts(config: GatewayConfig, tmp_path: Path) -> None:
    own = tmp_path / "profiles"
    own.mkdir()
    text = (profile_directory() / "climate.toml").read_text()
    for name in ("mine", "spare"):
        (own / f"{name}.toml").write_text(text.replace('name = "climate"', f'name = "{name}"', 1))
    config = changed(config, profile_directory=str(own))
    async with home(config, tmp_path) as here:
        running = here.running
        mine = Thing(5, name="Cellar", profile="mine")
        assert isinstance(await running.core.enrolment.enrol(mine.candidate), Enrolled)
        text = (own / "mine.toml").read_text()
        at = text.index("[[examples]]")
        (own / "mine.toml").write_text(text[:at] + PRESET + text[at:])
        here.reload()
        device = running.core.registry.get(mine.kid)
        assert device is not None and "mould" in [alert.name for alert in device.profile.alerts]

        def presets() -> list[str]:
            rows = running.core.database.read(
                lambda c: c.execute("SELECT preset FROM alert_rules WHERE device = ?", (device.row.id,)).fetchall()
            )
            return [row[0] for row in rows]

        await eventually(lambda: "mould" in presets(), 30)
        before = running.core.profiles["mine"]
        (own / "mine.toml").unlink()
        gone = running.reload.read_again()
        assert "Cellar has the profile mine, which is gone" in gone.error
        (own / "mine.toml").write_text("name = ")
        assert "mine.toml" in running.reload.read_again().error
        assert running.core.profiles["mine"] is before


@pytest.mark.parametrize(
    "break_it",
    [
        lambda text: text + "\nnonsense",
        lambda text: text.replace("[gateway.coap]", "[gateway.coap]\nreders = []"),
        lambda text: text.replace('readers = ["127.0.0.0/8"', 'readers = ["somewhere"'),
        lambda text: "",
    ],
    ids=["not TOML", "an unknown key", "no network", "empty"],
)
async def test_a_bad_file_changes_nothing(
    config: GatewayConfig, tmp_path: Path, break_it: Callable[[str], str], caplog: pytest.LogCaptureFixture
) -> None:
    async with home(config, tmp_path) as here:
        here.write(limits={"keep_days": 3}, coap={"readers": ("127.0.0.0/8",)})
        text = here.file.read_text()
        before = here.running.reload.config
        here.file.write_text(break_it(text))
        done = here.running.reload.read_again()
        if break_it(text):
            assert done.error and not done.changed and here.running.reload.config == before
            assert any("changes nothing" in record.message for record in caplog.records)
        else:
            assert done.needs_restart, "an empty file is one of defaults: other directories and servers"


async def test_what_cannot_change_is_named_once_a_key(
    config: GatewayConfig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with home(config, tmp_path) as here:
        caplog.set_level(logging.INFO)
        assert here.reload(home_name="Elsewhere", mqtt={"host": "broker.example"}, bot={"change_level": 60}) == (
            "bot.change_level",
        )
        named = [record.message for record in caplog.records if "after a restart" in record.message]
        assert named == [
            "home_name is changed in the file, and in use after a restart",
            "mqtt.host is changed in the file, and in use after a restart",
        ]
        assert here.running.reload.needs_restart == ("home_name", "mqtt.host")
        assert here.running.reload.config.home_name == config.home_name
        here.reload()
        assert here.running.reload.needs_restart == ()


def test_every_key_is_one_or_the_other() -> None:
    """A key that may change does so in one place; the flat view has every key of the example."""
    keys = flat(GatewayConfig())
    assert {"mqtt.port", "coap.burst", "limits.keep_days", "log_level", "plain"} <= keys.keys()
    assert not any(isinstance(value, dict) for value in keys.values())


async def test_by_command_and_by_signal(tmp_path: Path, homeserver: FakeHomeserver) -> None:
    config = make_config(tmp_path, homeserver.url)
    file = write_config(tmp_path / "thingroom.toml", config)
    log = tmp_path / "gateway.log"
    path = os.pathsep.join(str(REPOSITORY / part) for part in ("gateway", "common", "firmware"))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "thingroom_gateway", "--config", str(file)],
            stdout=subprocess.PIPE,
            stderr=output,
            env={**os.environ, "PYTHONPATH": path},
        )
    try:
        assert process.stdout is not None
        while b'"ready"' not in await asyncio.to_thread(process.stdout.readline):
            assert process.poll() is None, log.read_text()
        write_config(file, changed(config, history={"readings_days": 5}, timezone="Europe/Berlin"))
        command = partial(CliRunner().invoke, gateway_commands, ["reload", "--config", str(file)])
        done = await asyncio.to_thread(command)
        assert done.exit_code == 0, done.output
        assert "In use now: history.readings_days" in done.output
        assert "After a restart: timezone" in done.output
        file.write_text("[gateway")
        bad = await asyncio.to_thread(CliRunner().invoke, gateway_commands, ["reload", "--config", str(file)])
        assert bad.exit_code == 1 and "not valid TOML" in bad.output
        write_config(file, changed(config, log_format="json"))
        process.send_signal(signal.SIGHUP)
        await eventually(lambda: '"changed":"history.readings_days,log_format"' in log.read_text(), 30)
    finally:
        process.terminate()
        assert process.wait(30) == 0
        assert process.stdout is not None
        process.stdout.close()
