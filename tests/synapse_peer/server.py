"""A real Synapse as a child process, for tests and benchmarks that need another implementation of Matrix.

`async with running_synapse(directory) as synapse:` starts one on a free loopback port over SQLite, waits until it
answers, and stops it. Its Python is the one that `environment.synapse_python` keeps apart from ours. Imports nothing
of the programs under test. The client side is whatever the caller likes: `synapse.base_url` is all it takes.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS
from tests.synapse_peer.environment import synapse_python

STOP_SECONDS = 15.0
START_ATTEMPTS = 3
TAIL_BYTES = 4000

_UNLIMITED = {"per_second": 1_000_000, "burst_count": 1_000_000}


class SynapseFailed(Exception):
    """Synapse did not start or did not do as asked; the message ends with the tail of its log."""


@dataclass(frozen=True)
class SynapseSettings:
    """What may differ between two Synapses. `extra` is merged over the configuration, last word to the caller."""

    server_name: str = "synapse.test"
    appservice_files: tuple[Path, ...] = ()
    default_rate_limits: bool = False
    default_room_version: str = "12"
    log_level: str = "WARNING"
    # More listeners than the client one, as Synapse writes them: a TLS listener for federation goes here.
    listeners: tuple[Mapping[str, Any], ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """A registered user and a device that is logged in."""

    user_id: str
    password: str
    access_token: str
    device_id: str


@dataclass
class Synapse:
    """A running Synapse. `started_in` is seconds from the start of the process to the first answer of /versions."""

    settings: SynapseSettings
    directory: Path
    base_url: str
    registration_shared_secret: str
    process: asyncio.subprocess.Process
    started_in: float

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / "synapse.log"

    async def register(self, localpart: str, password: str = "correct horse", *, admin: bool = False) -> Account:
        """Register through the shared-secret admin API, whatever the server's registration setting says.

        Raises SynapseFailed, for one if the name is taken.
        """
        url = f"{self.base_url}/_synapse/admin/v1/register"
        async with aiohttp.ClientSession() as session:
            async with session.get(url) as response:
                nonce = (await response.json())["nonce"]
            body = {
                "nonce": nonce,
                "username": localpart,
                "password": password,
                "admin": admin,
                "mac": registration_mac(self.registration_shared_secret, nonce, localpart, password, admin=admin),
            }
            async with session.post(url, json=body) as response:
                answer = await response.json()
                if response.status != 200:
                    raise SynapseFailed(f"registering {localpart}: {response.status} {answer}\n{self.log_tail()}")
        return Account(answer["user_id"], password, answer["access_token"], answer["device_id"])

    def log_tail(self) -> str:
        """The end of what Synapse logged and printed."""
        return log_tail_of(self.log_path)

    async def stop(self) -> None:
        """End the process: SIGTERM, and SIGKILL when it takes longer than STOP_SECONDS. Safe to call twice."""
        await end_process(self.process)


@asynccontextmanager
async def running_synapse(directory: Path, settings: SynapseSettings | None = None) -> AsyncIterator[Synapse]:
    """Start a Synapse whose files live in `directory`, which outlives it: starting there again finds the old data."""
    synapse = await start_synapse(directory, settings or SynapseSettings())
    try:
        yield synapse
    finally:
        await synapse.stop()


async def start_synapse(directory: Path, settings: SynapseSettings) -> Synapse:
    """Start and wait until /versions answers. Raises SynapseFailed."""
    python = await asyncio.to_thread(synapse_python)
    directory.mkdir(parents=True, exist_ok=True)
    secret = _kept_secret(directory / "registration_secret")
    failure = ""
    for _attempt in range(START_ATTEMPTS):
        port = free_port()
        _write_configuration(directory, settings, port, secret)
        log = directory / "synapse.log"
        log.unlink(missing_ok=True)
        began = time.perf_counter()
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *(str(python), "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"),
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        base_url = f"http://127.0.0.1:{port}"
        try:
            await wait_until_answers(base_url, process, PATIENCE_SECONDS)
        except TimeoutError as error:
            await end_process(process)
            failure = f"Synapse did not start: {error}\n{log_tail_of(log)}"
            if "CannotListenError" in failure or "Address already in use" in failure:
                continue
            raise SynapseFailed(failure) from None
        except BaseException:
            await end_process(process)
            raise
        return Synapse(settings, directory, base_url, secret, process, time.perf_counter() - began)
    raise SynapseFailed(failure)


async def wait_until_answers(base_url: str, process: asyncio.subprocess.Process, seconds: float) -> None:
    """Ask /versions until it answers 200. Raises TimeoutError when `seconds` pass or the process ends first."""
    deadline = time.monotonic() + seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
        while time.monotonic() < deadline:
            if process.returncode is not None:
                raise TimeoutError(f"the process ended with status {process.returncode}")
            try:
                async with session.get(f"{base_url}/_matrix/client/versions") as response:
                    if response.status == 200:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(0.01)
    raise TimeoutError(f"no answer within {seconds:g} s")


def registration_mac(secret: str, nonce: str, localpart: str, password: str, *, admin: bool = False) -> str:
    """The proof of the shared secret (Synapse's "Shared-Secret Registration"): hex HMAC-SHA1."""
    parts = (nonce, localpart, password, "admin" if admin else "notadmin")
    return hmac.new(secret.encode(), "\0".join(parts).encode(), hashlib.sha1).hexdigest()


def configuration(
    directory: Path, settings: SynapseSettings, port: int, registration_shared_secret: str
) -> dict[str, Any]:
    """The content of homeserver.yaml. Paths are absolute; secrets that Synapse insists on are fresh."""
    client_listener = {
        "port": port,
        "type": "http",
        "tls": False,
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": ["client"], "compress": False}],
    }
    config: dict[str, Any] = {
        "server_name": settings.server_name,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "listeners": [client_listener, *settings.listeners],
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "log_config": str(directory / "log.yaml"),
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "registration_shared_secret": registration_shared_secret,
        "macaroon_secret_key": secrets.token_hex(32),
        "form_secret": secrets.token_hex(32),
        "report_stats": False,
        "trusted_key_servers": [],
        "default_room_version": settings.default_room_version,
        "app_service_config_files": [str(path) for path in settings.appservice_files],
    }
    if not settings.default_rate_limits:
        config |= _without_limits()
    return config | dict(settings.extra)


def _without_limits() -> dict[str, Any]:
    """Every limit of Synapse's ratelimiting section, set beyond what a test reaches."""
    flat = (
        *("rc_message", "rc_registration", "rc_registration_token_validity", "rc_admin_redaction"),
        *("rc_joins_per_room", "rc_key_requests", "rc_3pid_validation", "rc_third_party_invite", "rc_media_create"),
        *("rc_room_creation", "rc_reports", "rc_user_directory", "rc_profile", "rc_delayed_event_mgmt"),
    )
    return dict.fromkeys(flat, _UNLIMITED) | {
        "rc_login": {"address": _UNLIMITED, "account": _UNLIMITED, "failed_attempts": _UNLIMITED},
        "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
        "rc_invites": {"per_room": _UNLIMITED, "per_user": _UNLIMITED, "per_issuer": _UNLIMITED},
        "rc_presence": {"per_user": _UNLIMITED},
        "rc_federation": {"sleep_limit": 1_000_000, "reject_limit": 1_000_000, "concurrent": 1000},
        "federation_rr_transactions_per_room_per_second": 1_000_000,
    }


def _write_configuration(directory: Path, settings: SynapseSettings, port: int, secret: str) -> None:
    key = directory / "signing.key"
    if not key.exists():
        seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
        _write_private(key, f"ed25519 a_{secrets.token_hex(2)} {seed}\n")
    # JSON is YAML, and needs no library to write.
    (directory / "log.yaml").write_text(json.dumps(_log_configuration(settings.log_level)))
    _write_private(directory / "homeserver.yaml", json.dumps(configuration(directory, settings, port, secret)))


def _log_configuration(level: str) -> dict[str, Any]:
    return {
        "version": 1,
        "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": level, "handlers": ["console"]},
        "disable_existing_loggers": False,
    }


def _kept_secret(path: Path) -> str:
    if not path.exists():
        _write_private(path, secrets.token_hex(32))
    return path.read_text()


def _write_private(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def log_tail_of(path: Path) -> str:
    """The end of what a process wrote to `path`."""
    if not path.exists():
        return f"({path} is missing)"
    return path.read_bytes()[-TAIL_BYTES:].decode(errors="replace")


async def end_process(process: asyncio.subprocess.Process) -> None:
    """SIGTERM, and SIGKILL when it takes longer than STOP_SECONDS; nothing if it has ended."""
    if process.returncode is not None:
        return
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
