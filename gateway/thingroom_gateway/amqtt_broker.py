"""A broker for homes without Mosquitto: amqtt, with the users and the rules that the gateway writes.

`python -m thingroom_gateway.amqtt_broker --config thingroom.toml`, a process of its own. May import amqtt,
broker_access, config. Demonstrations and small homes; Mosquitto is faster by far.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click
from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin

from thingroom_common.config_file import ConfigError, default_path
from thingroom_common.log_lines import log_as
from thingroom_gateway.app import access_files, gateway_password
from thingroom_gateway.broker_access import check_password, may, prepare_access_files
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.listening import check_listening

logger = logging.getLogger(__name__)


class PasswordFilePlugin(BaseAuthPlugin):  # type: ignore[misc]
    """Lets in who is in the password file; reads it anew whenever it changes."""

    @dataclass
    class Config:
        """`password_file`: as broker_access.py writes it."""

        password_file: str = ""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self._path = Path(self.config.password_file)
        self._stamp: tuple[int, int] | None = None
        self._users: dict[str, str] = {}

    async def authenticate(self, *, session: Any) -> bool:
        hashed = self._current().get(session.username or "")
        return hashed is not None and check_password(hashed, session.password or "")

    def _current(self) -> dict[str, str]:
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp != self._stamp:
                lines = self._path.read_text(encoding="utf-8").splitlines()
                self._users = {user: hashed for user, _, hashed in (line.partition(":") for line in lines)}
                self._stamp = stamp
        except OSError as error:
            logger.error("the password file cannot be read: %s", error)
        return self._users


class AccessPlugin(BaseTopicPlugin):  # type: ignore[misc]
    """The rules of `broker_access.may`."""

    @dataclass
    class Config:
        """`gateway_user`: who may do everything below thingroom/. `plain_user`: who may do everything else."""

        gateway_user: str = "gateway"
        plain_user: str = ""

    async def topic_filtering(self, *, session: Any = None, topic: str | None = None, action: Any = None) -> bool:
        user = session.username if session is not None else None
        if not user or not topic:
            return False
        kind: Literal["read", "write"] = "write" if action == Action.PUBLISH else "read"
        return may(user, self.config.gateway_user, kind, topic, self.config.plain_user)


def broker_configuration(config: GatewayConfig) -> dict[str, Any]:
    """amqtt's configuration. Raises ConfigError without a password file."""
    files = access_files(config.mqtt)
    if files is None:
        raise ConfigError("mqtt.password_file is needed for a broker of our own")
    here = __name__ if __name__ != "__main__" else "thingroom_gateway.amqtt_broker"
    return {
        "listeners": {"default": {"type": "tcp", "bind": f"{config.mqtt.host}:{config.mqtt.port}"}},
        "plugins": {
            f"{here}.PasswordFilePlugin": {"password_file": str(files.passwords)},
            f"{here}.AccessPlugin": {
                "gateway_user": config.mqtt.username,
                "plain_user": config.plain_broker.account if config.plain else "",
            },
        },
    }


async def serve(config: GatewayConfig) -> None:
    """Run the broker until SIGTERM or SIGINT. Raises ConfigError."""
    files = access_files(config.mqtt)
    settings = broker_configuration(config)
    check_listening("the broker", "gateway.mqtt", config.mqtt.host, config.mqtt.port, socket.SOCK_STREAM)
    assert files is not None
    prepare_access_files(files, config.mqtt.username, gateway_password(config))
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    broker = Broker(settings)
    await broker.start()
    logger.info("broker on %s:%d", config.mqtt.host, config.mqtt.port)
    await stop.wait()
    await broker.shutdown()


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), default=default_path)
def main(config_path: Path) -> None:
    """Run amqtt with the gateway's users. Ends with 2 when it cannot start; one sentence on stderr says why."""
    try:
        config = load(config_path)
        log_as(config.log_format, "warning")
        logging.getLogger(__name__).setLevel(logging.INFO)
        asyncio.run(serve(config))
    except ConfigError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
