"""Devices and configurations for the gateway's tests: envelopes are made with thingroom_wire and PyNaCl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import msgspec
import nacl.bindings
from nacl.signing import SigningKey
from tests.free_port import free_port
from tests.gateway.brokers import GATEWAY_PASSWORD, Mosquitto
from tests.gateway.fake_homeserver import AS_TOKEN, HS_TOKEN, SERVER
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway import app
from thingroom_gateway.config import (
    AppserviceConfig,
    BatchConfig,
    CoapConfig,
    DashboardConfig,
    GatewayConfig,
    HomeserverConfig,
    MqttConfig,
)
from thingroom_gateway.enrolment import Candidate, Enrolled
from thingroom_gateway.events_out import EventsOut
from thingroom_gateway.registration import make_registration
from thingroom_wire import cose, envelope, keys
from thingroom_wire.cbor import Decimal
from thingroom_wire.downlink import Answer, parse_answer
from thingroom_wire.hello import Hello, encode_pairing_hello, hello_parts
from thingroom_wire.senml import Record, encode_pack

TIME = time.time_ns() // 1_000_000


class Thing:
    """A device: keys, sequence numbers, envelopes."""

    def __init__(self, seed: int = 1, name: str = "Kitchen", profile: str = "climate") -> None:
        self.signing = SigningKey(seed.to_bytes(32, "big"))
        self.public = bytes(self.signing.verify_key)
        self.kid: bytes = keys.key_id(self.public)
        self.agreement = (seed + 1_000_000).to_bytes(32, "big")
        self.agreement_public = nacl.bindings.crypto_scalarmult_base(self.agreement)
        self.name, self.profile = name, profile
        self.sequence = 0
        self.downlink = b""

    @property
    def hex(self) -> str:
        return self.kid.hex()

    def learn(self, gateway_key: bytes, gateway_agreement_key: bytes) -> None:
        shared = nacl.bindings.crypto_scalarmult(self.agreement, gateway_agreement_key)
        self.downlink = keys.downlink_key(shared, self.kid, keys.key_id(gateway_key))

    @property
    def password(self) -> str:
        return keys.broker_password(self.downlink)

    @property
    def candidate(self) -> Candidate:
        return Candidate(self.public, self.agreement_public, self.name, self.profile)

    def pack(self, tenths: int = 214, time_ms: int | None = TIME) -> bytes:
        if self.profile == "soil":
            records = [Record("moisture", "%", tenths // 10, 0)]
        else:
            records = [
                Record("temperature", "Cel", Decimal(tenths, -1), 0),
                Record("humidity", "%RH", Decimal(452, -1), 0),
            ]
        return encode_pack(keys.base_name(keys.eui64_from_key_id(self.kid)), time_ms, records)

    def envelope(
        self, sequence: int | None = None, payload: bytes | None = None, clock: tuple[int, int, int] = (0, 1, 5000)
    ) -> bytes:
        """The envelope of `sequence`, the next one if None."""
        if sequence is None:
            self.sequence += 1
            sequence = self.sequence
        before = (sequence - 1, bytes(8)) if sequence > 1 else None
        header = envelope.Header(self.kid, sequence, before, envelope.Clock(*clock))
        protected = envelope.protected_header(header)
        payload = self.pack(200 + sequence % 50) if payload is None else payload
        signature = self.signing.sign(cose.sig_structure(protected, payload)).signature
        made: bytes = cose.encode_sign1(protected, payload, signature)
        return made

    def hello(
        self,
        nonce: bytes = b"\1" * 8,
        pairing: bool = False,
        held: tuple[int, list[tuple[int, int]]] | None = None,
        uptime: int = 5000,
        update: tuple[str, int, str] | None = None,
    ) -> bytes:
        """`held` is what its outbox holds, `update` what it says of updates, as in thingroom_wire.hello."""
        hello = Hello(
            self.kid,
            nonce,
            1,
            uptime,
            0,
            "test 1",
            self.profile,
            self.public if pairing else None,
            self.agreement_public if pairing else None,
            self.name if pairing else None,
            None,
            held,
            update,
        )
        protected, payload = hello_parts(hello)
        signature = self.signing.sign(cose.sig_structure(protected, payload)).signature
        made: bytes = cose.encode_sign1(protected, payload, signature)
        return made

    def pairing_hello(self, code: str, nonce: bytes = b"\1" * 8) -> bytes:
        key = keys.pairing_keys(bytes.fromhex(code.replace(" ", ""))).device
        made: bytes = encode_pairing_hello(key, self.kid, self.hello(nonce, pairing=True))
        return made

    def answer(self, data: bytes) -> Answer:
        return parse_answer(data, self.downlink)


def make_config(directory: Path, homeserver_url: str, broker: Mosquitto | None = None, **mqtt: object) -> GatewayConfig:
    """Free ports, short times; MQTT only with a broker."""
    registration = directory / "registration.yaml"
    registration.write_text(json.dumps(make_registration(SERVER, "http://127.0.0.1:1", AS_TOKEN, HS_TOKEN)))
    link = MqttConfig(enabled=False)
    if broker is not None:
        options: dict[str, object] = {
            "port": broker.port,
            "password": GATEWAY_PASSWORD,
            "password_file": str(broker.files.passwords),
            "acl_file": str(broker.files.acl),
            "pid_file": str(broker.files.pid),
        }
        link = MqttConfig(**{**options, **mqtt})  # type: ignore[arg-type]
    import socket

    return GatewayConfig(
        data_directory=str(directory / "gateway"),
        homeserver_url=homeserver_url,
        server_name=SERVER,
        registration_file=str(registration),
        owner=f"@owner:{SERVER}",
        mqtt=link,
        coap=CoapConfig(port=free_port(socket.SOCK_DGRAM)),
        appservice=AppserviceConfig(port=free_port()),
        dashboard=DashboardConfig(listen="127.0.0.1:0"),
        batch=BatchConfig(seconds=0.1),
        homeserver=HomeserverConfig(retry_seconds=(0.05, 0.1, 0.2)),
    )


def write_config(path: Path, config: GatewayConfig) -> Path:
    """The configuration as a TOML file, for a gateway in a process of its own."""
    lines: list[str] = []
    tables: list[str] = []
    for name, value in msgspec.to_builtins(config).items():
        if isinstance(value, dict):
            tables.append(f"\n[gateway.{name}]")
            tables += [f"{key} = {json.dumps(item)}" for key, item in value.items()]
        else:
            lines.append(f"{name} = {json.dumps(value)}")
    path.write_text("[gateway]\n" + "\n".join(lines + tables) + "\n")
    return path


async def eventually(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait until `condition` holds; AssertionError with its last value if it does not in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"still {value!r} after {seconds} s"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def gateway(config: GatewayConfig, *things: Thing) -> AsyncIterator[app.Gateway]:
    """A gateway in this process, `things` enrolled, its MQTT link up where it has one."""
    async with app.running(config, EventsOut(None), asyncio.Event()) as running:
        for thing in things:
            enrolled = await running.core.enrolment.enrol(thing.candidate)
            assert isinstance(enrolled, Enrolled), enrolled
            thing.learn(running.core.keys.signing_public, running.core.keys.agreement_public)
        if running.mqtt is not None:
            await asyncio.wait_for(running.mqtt.connected.wait(), PATIENCE_SECONDS)
        yield running


@contextlib.contextmanager
def stuck_disk(running: app.Gateway, config: GatewayConfig) -> Iterator[None]:
    """Nothing can be committed meanwhile: another process holds the database's write lock."""
    running.core.database._writer.execute("PRAGMA busy_timeout = 20")
    blocker = sqlite3.connect(config.directory / "gateway.sqlite", isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        blocker.execute("ROLLBACK")
        blocker.close()
