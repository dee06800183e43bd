"""Which MQTT broker `thingroom run` starts: Mosquitto where it is installed, amqtt otherwise, or none.

May import the gateway's broker_access, which knows who may do what. `run.py` supervises what is chosen here.
"""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from pathlib import Path

from thingroom.config import Paths, ThingroomConfig, write_private
from thingroom.supervisor import Program
from thingroom_common.config_file import ConfigError
from thingroom_gateway.app import access_files, gateway_password
from thingroom_gateway.broker_access import mosquitto_configuration, prepare_access_files


def broker_program(config: ThingroomConfig, paths: Paths) -> Program | None:
    """The broker to start, its files written; None for an external one. Raises ConfigError."""
    choice = config.run.broker
    mosquitto = _mosquitto()
    if choice == "external":
        return None
    if choice == "mosquitto" and mosquitto is None:
        raise ConfigError(
            'Mosquitto is not installed. Try: sudo apt-get install mosquitto, or set broker in [run] to "auto".'
        )
    if choice == "amqtt" or mosquitto is None:
        command = [sys.executable, "-m", "thingroom_gateway.amqtt_broker", "--config", str(paths.programs)]
        return Program("broker", command, paths.logs / "broker.log")
    return Program("broker", _prepared_mosquitto(mosquitto, config, paths), paths.logs / "broker.log")


def broker_name(program: Program | None) -> str:
    """What to call it on the screen."""
    if program is None:
        return "external"
    return "Mosquitto" if "mosquitto" in Path(program.command[0]).name else "amqtt"


def _mosquitto() -> str | None:
    return shutil.which("mosquitto", path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")


def _prepared_mosquitto(mosquitto: str, config: ThingroomConfig, paths: Paths) -> list[str]:
    mqtt = config.gateway.mqtt
    files = access_files(mqtt)
    assert files is not None and files.acl is not None and files.pid is not None
    prepare_access_files(files, mqtt.username, gateway_password(config.gateway))
    settings = mosquitto_configuration(
        mqtt.host, mqtt.port, files.passwords, files.acl, files.pid, getpass.getuser(), mqtt.window
    )
    settings_file = paths.broker / "mosquitto.conf"
    write_private(settings_file, settings)
    return [mosquitto, "-c", str(settings_file)]
