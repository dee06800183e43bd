"""The whole thingroom.toml: what `thingroom run` itself needs, and the sections of the programs it starts.

`settle` turns what the person wrote into what the programs read: it fills in paths, addresses and secrets that follow
from the data directory, so that an empty file is a working configuration. Read `run.py` next.
"""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import tomli_w
from msgspec import Meta, structs

from thingroom_common.config_file import ConfigError, example, load
from thingroom_common.log_lines import LogFormat, LogLevel
from thingroom_gateway.config import GatewayConfig, MqttConfig
from thingroom_homeserver.config import HomeserverConfig, check_config, local_url, with_absolute_paths


class RunConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What `thingroom run` decides by itself."""

    owner: Annotated[
        str,
        Meta(
            pattern="^[a-z0-9._=/+-]{1,100}$",
            description="The name of your account, the part before the colon. It is made on the first start.",
        ),
    ] = "owner"
    broker: Annotated[
        Literal["auto", "mosquitto", "amqtt", "external"],
        Meta(
            description='The MQTT broker: "auto" starts Mosquitto where it is installed and amqtt otherwise;\n'
            '"external" starts none and uses the one that [gateway.mqtt] names.'
        ),
    ] = "auto"
    broker_host: Annotated[
        str,
        Meta(description="Where our broker listens. Boards on your network reach it only if this is not loopback."),
    ] = "127.0.0.1"
    broker_port: Annotated[
        int,
        Meta(
            ge=1,
            le=65535,
            description="Not 1883, because a Mosquitto that was installed as a system service already has that one.",
        ),
    ] = 1884

    log_format: Annotated[
        LogFormat,
        Meta(
            description='How log lines are written: "text" is keys with values; "json" holds for homeserver and\n'
            "gateway too."
        ),
    ] = "text"
    log_level: Annotated[LogLevel, Meta(description="From what on: debug, info, warning or error.")] = "info"


class ThingroomConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file as a whole. Any other section is refused."""

    run: RunConfig = RunConfig()
    homeserver: HomeserverConfig = HomeserverConfig()
    gateway: GatewayConfig = GatewayConfig()


HEADER = """\
# Thingroom's configuration. Every key is shown with its meaning and its default, commented out: remove the "# "
# before a key to change it. `thingroom run` fills in paths, addresses and secrets that follow from its data directory.

"""


def example_file() -> str:
    """The commented file, every key of every section."""
    return HEADER + example(ThingroomConfig)


class Paths:
    """Where things lie below the data directory of `thingroom run`."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.config = data / "thingroom.toml"
        self.programs = data / "run" / "programs.toml"
        self.started_with = data / "run" / "started_with.toml"
        self.owner = data / "run" / "owner.json"
        self.shared_secret = data / "run" / "registration_secret"
        self.registration = data / "run" / "gateway_registration.yaml"
        self.homeserver = data / "homeserver"
        self.gateway = data / "gateway"
        self.broker = data / "broker"
        self.demo = data / "demo"
        self.logs = data / "logs"

    def make(self) -> None:
        """Make the directories, private to this user. Raises ConfigError."""
        for directory in (self.data, self.data / "run", self.homeserver, self.gateway, self.broker, self.logs):
            try:
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(
                    f"The directory {directory} cannot be made: {error.strerror}. Name another one with --data."
                ) from None


def read_or_write(paths: Paths, config_file: Path | None) -> ThingroomConfig:
    """Load `config_file`, or the data directory's own, which is written on the first start. Raises ConfigError."""
    if config_file is None:
        config_file = paths.config
        if not config_file.exists():
            config_file.write_text(example_file(), encoding="utf-8")
    config = load(config_file, ThingroomConfig)
    return structs.replace(config, homeserver=with_absolute_paths(config.homeserver, config_file.resolve().parent))


def settle(config: ThingroomConfig, paths: Paths) -> ThingroomConfig:
    """Fill in what follows from `paths`, from the other sections and from this machine. Raises ConfigError."""
    config = structs.replace(config, run=structs.replace(config.run, broker=_chosen_broker(config.run.broker)))
    homeserver = structs.replace(
        config.homeserver,
        data_directory=str(paths.homeserver),
        appservice_files=(*config.homeserver.appservice_files, str(paths.registration)),
        public_base_url=config.homeserver.public_base_url or base_url(config.homeserver),
        registration=_registration(config.homeserver),
        log_format="json" if config.run.log_format == "json" else config.homeserver.log_format,
        registration_shared_secret=config.homeserver.registration_shared_secret or _secret(paths.shared_secret),
    )
    check_config(homeserver)
    gateway = structs.replace(
        config.gateway,
        data_directory=str(paths.gateway),
        homeserver_url=base_url(homeserver),
        log_format="json" if config.run.log_format == "json" else config.gateway.log_format,
        server_name=homeserver.server_name,
        registration_file=str(paths.registration),
        owner=f"@{config.run.owner}:{homeserver.server_name}",
        mqtt=_own_broker(config, paths) if config.run.broker != "external" else config.gateway.mqtt,
    )
    return structs.replace(config, homeserver=homeserver, gateway=gateway)


def base_url(homeserver: HomeserverConfig) -> str:
    """How programs on this machine reach the homeserver."""
    return local_url(homeserver)


def write_programs_file(config: ThingroomConfig, path: Path) -> None:
    """The settled configuration, for the programs to read; it holds secrets, so 0600."""
    write_private(path, tomli_w.dumps(msgspec.to_builtins(config)))


def write_private(path: Path, text: str) -> None:
    """Replace `path` as a whole, readable by its owner only."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _registration(homeserver: HomeserverConfig) -> Literal["open", "shared_secret"]:
    """Closed to the world, but not to us, who make the owner's account with the secret."""
    return "open" if homeserver.registration == "open" else "shared_secret"


def find_mosquitto() -> str | None:
    """The program, also where Debian keeps it out of people's PATH."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", os.defpath) + os.pathsep + "/usr/sbin")


def _chosen_broker(wanted: str) -> Literal["mosquitto", "amqtt", "external"]:
    if wanted == "external":
        return "external"
    if wanted == "mosquitto" and find_mosquitto() is None:
        raise ConfigError(
            'Mosquitto is not installed. Try: sudo apt-get install mosquitto, or set broker in [run] to "auto".'
        )
    return "amqtt" if wanted == "amqtt" or find_mosquitto() is None else "mosquitto"


def _own_broker(config: ThingroomConfig, paths: Paths) -> MqttConfig:
    return structs.replace(
        config.gateway.mqtt,
        enabled=True,
        host=config.run.broker_host,
        port=config.run.broker_port,
        username="gateway",
        tls=False,
        protocol="3.1.1" if config.run.broker == "amqtt" else config.gateway.mqtt.protocol,
        password_file=str(paths.broker / "passwords"),
        acl_file=str(paths.broker / "access"),
        pid_file=str(paths.broker / "mosquitto.pid"),
    )


def _secret(path: Path) -> str:
    if not path.exists():
        write_private(path, secrets.token_urlsafe(32))
    return path.read_text(encoding="utf-8")
