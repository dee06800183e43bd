"""A gateway and a Mosquitto as child processes, and devices that sign with thingroom_wire: for flows and benchmarks.

The homeserver is somebody else's choice: `running_gateway` takes its URL. Devices here are known to the gateway by
their keys (`Gateway.enrol`), as after `thingroom gateway enrol`; pairing has tests of its own.
"""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import secrets
import shutil
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nacl.bindings
import tomli_w
from nacl.signing import SigningKey
from tests.free_port import free_port

from thingroom_gateway import control
from thingroom_gateway.broker_access import AccessFiles, mosquitto_configuration, prepare_access_files
from thingroom_wire.cbor import Decimal
from thingroom_wire.cose import encode_sign1, sig_structure
from thingroom_wire.envelope import SYNCHRONISED, Clock, Header, digest, protected_header
from thingroom_wire.keys import base_name, eui64_from_key_id, key_id
from thingroom_wire.senml import Record, encode_pack

START_SECONDS = 30.0
STOP_SECONDS = 15.0
KEPT_EVENTS = 10_000
GATEWAY_USER = "gateway"
BROKER_WINDOW = 512


class StackFailed(Exception):
    """A process did not start or did not do as asked; the message ends with what it logged."""


class Device:
    """A device with its keys. Envelopes are numbered and chained in the order of the calls."""

    def __init__(self, name: str, profile: str = "climate") -> None:
        self.name = name
        self.profile = profile
        self.signing_key = SigningKey(os.urandom(32))
        self.public_key = bytes(self.signing_key.verify_key)
        self.agreement_private = os.urandom(32)
        self.agreement_public: bytes = nacl.bindings.crypto_scalarmult_base(self.agreement_private)
        self.kid: bytes = key_id(self.public_key)
        self.sequence = 0
        self._before: tuple[int, bytes] | None = None
        self._base_name = base_name(eui64_from_key_id(self.kid))

    def topic(self, last: str) -> str:
        """The device's MQTT topic that ends with `last`: up, down, hello or status."""
        return f"thingroom/1/{self.kid.hex()[0]}/{self.kid.hex()}/{last}"

    def climate(self, tenths_celsius: int, percent: int, time_ms: int | None = None) -> bytes:
        """The next envelope: a temperature in 0.1 °C and a relative humidity, read at `time_ms` (Unix) or now."""
        time_ms = time.time_ns() // 1_000_000 if time_ms is None else time_ms
        records = [
            Record("temperature", "Cel", Decimal(tenths_celsius, -1), 0),
            Record("humidity", "%RH", percent, 0),
        ]
        return self.envelope(records, time_ms)

    def envelope(self, records: list[Record], time_ms: int) -> bytes:
        """The next envelope, of any records; their times are relative to `time_ms` (Unix)."""
        self.sequence += 1
        header = Header(self.kid, self.sequence, self._before, Clock(SYNCHRONISED, 1, self.sequence * 1000))
        protected = protected_header(header)
        payload = encode_pack(self._base_name, time_ms, records)
        self._before = (self.sequence, digest(protected, payload))
        signature = self.signing_key.sign(sig_structure(protected, payload)).signature
        envelope: bytes = encode_sign1(protected, payload, signature)
        return envelope


@dataclass
class Mosquitto:
    """A running broker. `started_in` is seconds from the start of the process to the first accepted connection.

    `settings` is what the gateway's section [gateway.mqtt] says about it.
    """

    port: int
    settings: dict[str, Any]
    process: asyncio.subprocess.Process
    started_in: float

    @property
    def pid(self) -> int:
        return self.process.pid


@asynccontextmanager
async def running_mosquitto(directory: Path, *, managed: bool = True) -> AsyncIterator[Mosquitto]:
    """A Mosquitto on loopback whose users the gateway manages, or one that lets anybody in. Raises StackFailed."""
    binary = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise StackFailed("mosquitto is not installed")
    directory.mkdir(parents=True, exist_ok=True)
    port, log, configuration = free_port(), directory / "mosquitto.log", directory / "mosquitto.conf"
    settings: dict[str, Any] = {"port": port}
    if managed:
        files = AccessFiles(directory / "passwords", directory / "access", directory / "mosquitto.pid")
        password = secrets.token_hex(16)
        prepare_access_files(files, GATEWAY_USER, password)
        assert files.acl is not None and files.pid is not None
        user = getpass.getuser()
        configuration.write_text(
            mosquitto_configuration("127.0.0.1", port, files.passwords, files.acl, files.pid, user, BROKER_WINDOW)
        )
        settings |= {"username": GATEWAY_USER, "password": password, "password_file": str(files.passwords)}
        settings |= {"acl_file": str(files.acl), "pid_file": str(files.pid)}
    else:
        configuration.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\nuser {getpass.getuser()}\n"
            f"max_queued_messages 0\nmax_inflight_messages {BROKER_WINDOW}\nlog_type error\nlog_type warning\n"
        )
    began = time.perf_counter()
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(binary, "-c", str(configuration)), stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        await _until_accepts(port, process, log)
        yield Mosquitto(port, settings, process, time.perf_counter() - began)
    finally:
        await _end(process)


@dataclass
class Gateway:
    """A running gateway. `started_in` is seconds from the start of the process to its "ready"."""

    directory: Path
    process: asyncio.subprocess.Process
    started_in: float = 0.0
    events: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=KEPT_EVENTS))
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def pid(self) -> int:
        return self.process.pid

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """One command over the control socket."""
        return await asyncio.to_thread(control.ask, self.directory, {"command": command, **arguments})

    async def enrol(self, device: Device, place: str = "") -> dict[str, Any]:
        """Make `device` known by its keys. Returns the gateway's answer with its own keys."""
        return await self.ask(
            "enrol",
            device_key=device.public_key.hex(),
            agreement_key=device.agreement_public.hex(),
            name=device.name,
            profile=device.profile,
            place=place,
        )

    def log_tail(self) -> str:
        """The end of what the gateway logged."""
        return (self.directory / "gateway.log").read_bytes()[-4000:].decode(errors="replace")

    async def read_events(self) -> None:
        """Keep what the gateway says on standard output, for as long as it runs."""
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            event = json.loads(line)
            self.events.append(event)
            if event.get("event") == "ready":
                self.ready.set()


@asynccontextmanager
async def running_gateway(directory: Path, settings: dict[str, Any]) -> AsyncIterator[Gateway]:
    """A gateway with the section [gateway] that `settings` is; its data is in `directory`. Raises StackFailed."""
    directory.mkdir(parents=True, exist_ok=True)
    configuration = directory / "thingroom.toml"
    own = {"data_directory": str(directory), "dashboard": {"listen": "127.0.0.1:0"}}
    configuration.write_text(tomli_w.dumps({"gateway": {**own, **settings}}))
    configuration.chmod(0o600)
    began = time.perf_counter()
    with (directory / "gateway.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "thingroom_gateway", "--config", str(configuration)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    gateway = Gateway(directory, process)
    reading = asyncio.create_task(gateway.read_events())
    try:
        ready = asyncio.create_task(gateway.ready.wait())
        ended = asyncio.create_task(process.wait())
        await asyncio.wait({ready, ended}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        for task in (ready, ended):
            task.cancel()
        if not gateway.ready.is_set():
            raise StackFailed(f"the gateway is not ready\n{gateway.log_tail()}")
        gateway.started_in = time.perf_counter() - began
        yield gateway
    finally:
        await _end(process)
        await reading


async def _until_accepts(port: int, process: asyncio.subprocess.Process, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.returncode is None:
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.002)
    raise StackFailed(f"mosquitto did not start\n{log.read_bytes()[-4000:].decode(errors='replace')}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
