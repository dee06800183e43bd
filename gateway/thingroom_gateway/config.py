"""What the gateway can be told: the section [gateway] of thingroom.toml as frozen structs.

May import msgspec and thingroom_common only. Read app.py next: it builds the gateway from this.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from thingroom_common import config_file
from thingroom_common.addresses import check_metrics_listener, host_and_port
from thingroom_common.log_lines import LogFormat, LogLevel

Port = Annotated[int, Meta(ge=0, le=65535)]
Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0.05)]


class MqttConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Take readings from an MQTT broker.")] = True
    host: Annotated[str, Meta(description="Where the broker is.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The broker's port.")] = 1883
    username: Annotated[str, Meta(description="The gateway's user name at the broker.")] = "gateway"
    password: Annotated[
        str,
        Meta(description="The gateway's password at the broker. Empty: one is made and kept in the data directory."),
    ] = ""
    tls: Annotated[bool, Meta(description="Speak TLS with the broker.")] = False
    ca_file: Annotated[str, Meta(description="Certificates that vouch for the broker; empty: the system's.")] = ""
    cert_file: Annotated[
        str, Meta(description="The gateway's own certificate, for a broker that asks for one; empty: none.")
    ] = ""
    key_file: Annotated[
        str, Meta(description="The private key of that certificate; empty: it is in the same file.")
    ] = ""
    protocol: Annotated[Literal["5", "3.1.1"], Meta(description='The MQTT version, "5" or "3.1.1".')] = "5"
    shards: Annotated[
        str,
        Meta(
            pattern="^[0-9a-f]{1,16}$",
            description="Which devices this gateway takes: the first hex digits of their key ids.",
        ),
    ] = "0123456789abcdef"
    password_file: Annotated[
        str,
        Meta(description="Password file of a broker whose users we manage; empty: the broker is somebody else's."),
    ] = ""
    acl_file: Annotated[str, Meta(description="Access file of a Mosquitto whose users we manage.")] = ""
    pid_file: Annotated[str, Meta(description="Pid file of a Mosquitto to tell (SIGHUP) about new users.")] = ""
    window: Annotated[
        Positive, Meta(le=65535, description="Messages the broker may have under way before they are committed.")
    ] = 512


class CoapConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Take readings over CoAP.")] = True
    host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The UDP port to listen on.")] = 5683
    readers: Annotated[
        tuple[str, ...],
        Meta(
            description="Networks that may read the devices' latest values, as 192.168.1.0/24. CoAP knows no\n"
            "accounts: whoever sends from there reads everything. Empty: nobody."
        ),
    ] = ("127.0.0.0/8", "::1/128")
    requests_per_second: Annotated[
        Seconds, Meta(description="Requests that one address may make per second, in the long run.")
    ] = 50.0
    burst: Annotated[Positive, Meta(description="Requests that one address may make at once.")] = 200
    unlimited: Annotated[
        tuple[str, ...], Meta(description="Networks that are trusted to ask as often as they like.")
    ] = ("127.0.0.1/32", "::1/128")
    observers: Annotated[
        int, Meta(ge=0, description="Observations of latest values at most; one address may have a quarter of them.")
    ] = 256
    down: Annotated[
        int,
        Meta(ge=0, description="Devices at most that hold their way down open, so that commands reach them at once."),
    ] = 4096


class SerialConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    ports: Annotated[
        tuple[str, ...],
        Meta(
            description="Serial ports that boards are plugged into: device files, patterns of them as\n"
            '"/dev/serial/by-id/*", and "socket://host:port". Empty: none. They may come and go while we run.'
        ),
    ] = ()
    baud: Annotated[Positive, Meta(description="Bits per second on the line.")] = 115_200
    console_bytes: Annotated[
        int,
        Meta(ge=0, description="How much of what a board prints besides readings is kept, in bytes a port; 0: none."),
    ] = 1_000_000


class AppserviceConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: Annotated[str, Meta(description="Where the homeserver reaches the gateway.")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="The port for the homeserver's transactions.")] = 29333


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    queue_frames: Annotated[Positive, Meta(description="Messages that wait for ingest at most.")] = 2048
    queue_bytes: Annotated[Positive, Meta(description="Their size at most, in bytes.")] = 4_000_000
    devices: Annotated[Positive, Meta(description="Devices that may be enrolled.")] = 100_000
    device_readings_per_second: Annotated[
        float,
        Meta(
            ge=0,
            description="Readings that one device may send per second in the long run, ten minutes' worth at once; 0:\n"
            "as many as it likes. A device above its quota is told to wait and keeps its readings.",
        ),
    ] = 0.0
    device_bytes_per_day: Annotated[
        int, Meta(ge=0, description="The same in bytes of messages a day; 0: as many as it likes.")
    ] = 1_000_000_000
    keep_days: Annotated[
        Positive, Meta(description="How long an envelope is kept after it is in the room, in days.")
    ] = 30


class CommandsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    expires_seconds: Annotated[
        Positive, Meta(le=31_536_000, description="How long a command to a device waits for it, in seconds.")
    ] = 600
    sleeping_expires_seconds: Annotated[
        Positive, Meta(le=31_536_000, description="The same for a device whose profile says that it sleeps.")
    ] = 86_400
    waiting: Annotated[Positive, Meta(description="Commands that may wait for one device.")] = 32


class UpdatesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    confirm_seconds: Annotated[
        Positive,
        Meta(
            le=86_400,
            description="How long a device with a new version has for a reading that the gateway acknowledges, in "
            "seconds; after that it goes back to the version before by itself.",
        ),
    ] = 600


class HistoryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    readings_days: Annotated[
        int, Meta(ge=0, description="How long every single reading is kept, in days; 0: for ever, also below.")
    ] = 90
    five_minutes_days: Annotated[
        int, Meta(ge=0, description="How long least, mean and greatest of each five minutes are kept, in days.")
    ] = 730
    hours_days: Annotated[int, Meta(ge=0, description="The same of each hour, in days.")] = 3650
    days_days: Annotated[int, Meta(ge=0, description="The same of each day, in days.")] = 0
    max_megabytes: Annotated[
        int,
        Meta(
            ge=0,
            description="How large the database may become before the oldest history goes early; 0: as it likes. "
            "Two days of readings, a month of five minutes and a year of hours stay in any case.",
        ),
    ] = 0


class HomeserverConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    timeout_seconds: Annotated[Seconds, Meta(description="How long a request may take.")] = 30.0
    retry_seconds: Annotated[
        tuple[Seconds, ...],
        Meta(min_length=1, description="Pauses between tries while the homeserver is away; the last one repeats."),
    ] = (0.5, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0)


class BatchConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    seconds: Annotated[Seconds, Meta(description="How long readings gather before they become one event.")] = 2.0
    envelopes: Annotated[Positive, Meta(le=100, description="Envelopes in one event at most.")] = 100
    bytes: Annotated[
        int, Meta(ge=1000, le=40_000, description="Size of an event's content, in bytes, at which it is closed.")
    ] = 40_000


class PlainConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One [[gateway.plain]] table."""

    dialect: Annotated[
        Literal["tasmota", "zigbee2mqtt", "homeassistant", "esphome", "shelly", "topics"],
        Meta(description="Which devices to listen for; homeassistant: whatever announces itself by its discovery."),
    ]
    prefix: Annotated[
        str,
        Meta(
            max_length=200,
            description="Their topics' prefix if it is not the usual one (zigbee2mqtt, homeassistant, shellies; of "
            "ESPHome the node's topic_prefix); for topics an MQTT topic filter.",
        ),
    ] = ""


class PlainBrokerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    host: Annotated[
        str, Meta(description="The broker of plain devices; empty: that of [gateway.mqtt], with its account.")
    ] = ""
    port: Annotated[Port, Meta(description="The broker's port.")] = 1883
    username: Annotated[str, Meta(description="The gateway's user name there.")] = ""
    password: Annotated[str, Meta(description="And its password.")] = ""
    tls: Annotated[bool, Meta(description="Speak TLS with it.")] = False
    ca_file: Annotated[str, Meta(description="Certificates that vouch for it; empty: the system's.")] = ""
    account: Annotated[
        str,
        Meta(
            pattern="^[a-z][a-z0-9_-]{0,31}$",
            description="On a broker whose users we manage: the user name that plain devices share. Its password: "
            "thingroom gateway plain-account.",
        ),
    ] = "devices"


class UnitsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    temperature: Annotated[Literal["Cel", "degF"], Meta(description="Temperatures as people read them.")] = "Cel"
    pressure: Annotated[Literal["hPa", "mmHg", "inHg"], Meta(description="The air pressure.")] = "hPa"
    speed: Annotated[Literal["", "m/s", "km/h", "mph"], Meta(description="Speeds; empty: as the profile says.")] = ""

    @property
    def choices(self) -> dict[str, str]:
        """For profiles.load_profiles."""
        chosen = {"temperature": self.temperature, "pressure": self.pressure, "speed": self.speed}
        return {what: unit for what, unit in chosen.items() if unit}


class NoticesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    live: Annotated[
        tuple[str, ...],
        Meta(
            description="Places, and names of devices, where a device has one message that is edited instead of new "
            'ones; "*": everywhere. What people say in the room ("live on") goes before.'
        ),
    ] = ()
    live_seconds: Annotated[Seconds, Meta(description="How far apart the edits of such a message are.")] = 30.0


class BotConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    change_level: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="The power level in a room that people need to switch, rename, move and set alerts there. 0: "
            "what the room asks for changes of its settings, usually 50.",
        ),
    ] = 0


class DashboardConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    enabled: Annotated[bool, Meta(description="Serve the web page of devices, charts and status.")] = True
    listen: Annotated[
        str,
        Meta(
            description="The address of the page. Beyond this machine passwords are only safe with a certificate\n"
            "(below) or behind a proxy that has one (public_url)."
        ),
    ] = "127.0.0.1:8010"
    tls_certificate: Annotated[str, Meta(description="Certificate (PEM) to speak HTTPS with; empty: HTTP.")] = ""
    tls_key: Annotated[str, Meta(description="Its private key; empty: it is in the same file.")] = ""
    public_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^/\s?#]+)?$",
            description="How browsers reach the page through a proxy, as https://home.example.org; empty: directly.",
        ),
    ] = ""
    homeserver_public_url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://[^\s?#]+)?$",
            description="Where browsers reach the homeserver, for single sign-on. Empty: at homeserver_url.",
        ),
    ] = ""
    session_days: Annotated[Positive, Meta(le=3650, description="How long one stays signed in, in days.")] = 30
    streams: Annotated[
        int, Meta(ge=0, description="Pages that may be open with live values at once; one person may have a quarter.")
    ] = 64

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `listen`. Raises ConfigError."""
        return host_and_port(self.listen, "listen in [gateway.dashboard]")

    @property
    def url(self) -> str:
        """How people reach the page, without a slash at the end."""
        return self.public_url or f"{'https' if self.tls_certificate else 'http'}://{self.listen}"


class GatewayConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    data_directory: Annotated[str, Meta(description="Keys, database and control socket.")] = "data/gateway"
    homeserver_url: Annotated[str, Meta(description="The homeserver's client API.")] = "http://127.0.0.1:8008"
    server_name: Annotated[str, Meta(description="The homeserver's name, the part after the colon.")] = "localhost"
    registration_file: Annotated[
        str, Meta(description="The application service registration that the homeserver has too.")
    ] = "data/thingroom_registration.yaml"
    owner: Annotated[
        str, Meta(description="Who is invited to the rooms and may change them, as @you:server. Empty: nobody.")
    ] = ""
    timezone: Annotated[
        str,
        Meta(description="The zone of charts, tables and quiet hours, as Europe/Berlin. Empty: the machine's."),
    ] = ""
    home_name: Annotated[str, Meta(min_length=1, max_length=100, description="The name of the Space.")] = "Home"
    profile_directory: Annotated[
        str, Meta(description="A folder of device profiles of your own, beside ours; empty: none.")
    ] = ""
    metrics_listener: Annotated[
        str,
        Meta(description='Where Prometheus finds /metrics, as "host:port"; it asks for no password. Empty: nowhere.'),
    ] = ""
    metrics_beyond_loopback: Annotated[
        bool, Meta(description="Let metrics_listener be an address that others can reach.")
    ] = False
    log_format: Annotated[
        LogFormat, Meta(description='How log lines are written: "text" for people, keys with values, or "json".')
    ] = "text"
    log_level: Annotated[LogLevel, Meta(description="From what on is logged: debug, info, warning or error.")] = "info"
    plain: Annotated[
        tuple[PlainConfig, ...],
        Meta(
            max_length=64,
            description="Plain MQTT devices (no Thingroom firmware) to listen for: a table gateway.plain for each, "
            "with a dialect (tasmota, zigbee2mqtt, homeassistant, esphome, shelly, topics) and perhaps a prefix.",
        ),
    ] = ()
    plain_broker: PlainBrokerConfig = PlainBrokerConfig()
    units: UnitsConfig = UnitsConfig()
    mqtt: MqttConfig = MqttConfig()
    coap: CoapConfig = CoapConfig()
    serial: SerialConfig = SerialConfig()
    appservice: AppserviceConfig = AppserviceConfig()
    bot: BotConfig = BotConfig()
    notices: NoticesConfig = NoticesConfig()
    dashboard: DashboardConfig = DashboardConfig()
    homeserver: HomeserverConfig = HomeserverConfig()
    batch: BatchConfig = BatchConfig()
    history: HistoryConfig = HistoryConfig()
    commands: CommandsConfig = CommandsConfig()
    updates: UpdatesConfig = UpdatesConfig()
    limits: Limits = Limits()

    @property
    def directory(self) -> Path:
        return Path(self.data_directory)


class _File(msgspec.Struct, frozen=True, kw_only=True):
    """thingroom.toml as the gateway sees it: other programs' sections are none of its business."""

    gateway: GatewayConfig = GatewayConfig()


def load(path: Path) -> GatewayConfig:
    """The [gateway] section of `path`. Raises thingroom_common.config_file.ConfigError."""
    config = config_file.load(path, _File).gateway
    check_metrics_listener(config.metrics_listener, config.metrics_beyond_loopback)
    return config
