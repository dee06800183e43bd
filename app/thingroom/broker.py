"""The MQTT broker that `thingroom run` starts: Mosquitto where it is installed, amqtt otherwise, or none.

May import the gateway's broker_access, which knows who may do what. `config.settle` has chosen; `run.py` supervises.
"""

from __future__ import annotations

import getpass
import sys

from thingroom.config import Paths, ThingroomConfig, find_mosquitto, write_private
from thingroom.supervisor import Program
from thingroom_gateway.app import access_files, gateway_password
from thingroom_gateway.broker_access import mosquitto_configuration, prepare_access_files
from thingroom_gateway.links.plain_mqtt import MAX_PACKET
from thingroom_gateway.outcomes import MAX_FRAME


def broker_program(config: ThingroomConfig, paths: Paths, service: bool) -> Program | None:
    """The broker to start, its files written; None for an external one. `config` is settled.

    As a `service` it logs where we do.
    """
    if config.run.broker == "external":
        return None
    mosquitto = find_mosquitto()
    if config.run.broker == "mosquitto" and mosquitto is not None:
        command = _prepared_mosquitto(mosquitto, config, paths)
    else:
        command = [sys.executable, "-m", "thingroom_gateway.amqtt_broker", "--config", str(paths.programs)]
    return Program("broker", command, None if service else paths.logs / "broker.log")


def _prepared_mosquitto(mosquitto: str, config: ThingroomConfig, paths: Paths) -> list[str]:
    mqtt = config.gateway.mqtt
    files = access_files(mqtt)
    assert files is not None and files.acl is not None and files.pid is not None
    prepare_access_files(files, mqtt.username, gateway_password(config.gateway))
    settings = mosquitto_configuration(
        mqtt.host,
        mqtt.port,
        files.passwords,
        files.acl,
        files.pid,
        _user(),
        mqtt.window,
        largest=MAX_PACKET if config.gateway.plain else MAX_FRAME,
    )
    settings_file = paths.broker / "mosquitto.conf"
    write_private(settings_file, settings)
    return [mosquitto, "-c", str(settings_file)]


def _user() -> str:
    """Whom Mosquitto stays when root starts it. A user id without a name, as containers have, is not root's."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "mosquitto"
