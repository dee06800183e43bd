"""Who may do what at a broker that we manage: its password file, its access file, its configuration.

The text is made by pure functions; `BrokerAccess` writes it and tells Mosquitto. May import psutil, gateway_keys
(write_private), devices. amqtt_broker.py applies the same rules (`may`) in a broker of our own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import os
import secrets
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import psutil  # type: ignore[import-untyped]

from thingroom_gateway.devices import ACTIVE, Registry
from thingroom_gateway.gateway_keys import write_private
from thingroom_gateway.outcomes import MAX_FRAME
from thingroom_gateway.pairing import Pairing

logger = logging.getLogger(__name__)

PAIRING_USER: Final = "pairing"
# Mosquitto's own default. The passwords are 128 random bits: the hash need not be slow.
ITERATIONS: Final = 101
_SALT_BYTES: Final = 12
_HASH_BYTES: Final = 64


def password_line(user: str, password: str, salt: bytes) -> str:
    """A line of a Mosquitto 2 password file: PBKDF2-HMAC-SHA512, written $7$iterations$salt$hash."""
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, _HASH_BYTES)
    return f"{user}:$7${ITERATIONS}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def check_password(hashed: str, password: str) -> bool:
    """Whether `password` is the one of `hashed`, the part of a password line after the colon."""
    parts = hashed.split("$")
    if len(parts) != 5 or parts[1] != "7" or not parts[2].isdecimal() or not 0 < int(parts[2]) <= 1_000_000:
        return False
    try:
        salt, digest = base64.b64decode(parts[3], validate=True), base64.b64decode(parts[4], validate=True)
    except ValueError:
        return False
    return hmac.compare_digest(
        hashlib.pbkdf2_hmac("sha512", password.encode(), salt, int(parts[2]), len(digest) or 1), digest
    )


def acl_text(gateway_user: str, plain_user: str = "") -> str:
    """Mosquitto's access file: the gateway everything below thingroom/, a device its own topics, pairing hellos only.

    `plain_user`: the account of plain MQTT devices, if there is one; everything but thingroom/ is theirs, and the
    gateway's.

    Who is pairing may read all answers: they are authenticated, not secret, and Mosquitto's %c would give that to every
    device for good.
    """
    plain = f"user {plain_user}\ntopic deny thingroom/#\ntopic readwrite #\n\n" if plain_user else ""
    everything = "topic readwrite #\n" if plain_user else ""
    return f"""user {gateway_user}
topic readwrite thingroom/#
{everything}
{plain}user {PAIRING_USER}
topic write thingroom/1/+/+/hello
topic read thingroom/1/+/+/down

pattern write thingroom/1/+/%u/up
pattern write thingroom/1/+/%u/hello
pattern write thingroom/1/+/%u/ask
pattern write thingroom/1/+/%u/status
pattern read thingroom/1/+/%u/down
"""


def may(user: str, gateway_user: str, action: Literal["read", "write"], topic: str, plain_user: str = "") -> bool:
    """The rules of `acl_text` for one topic (or, for reading, topic filter)."""
    parts = topic.split("/")
    if user == gateway_user and (parts[0] == "thingroom" or not plain_user):
        return parts[0] == "thingroom"
    if plain_user and user in (gateway_user, plain_user):
        # This broker judges filters, not deliveries: one that begins with a wildcard would hear thingroom/ too.
        wild = parts[0] == "#" or (parts[0] == "+" and user == plain_user)
        return parts[0] != "thingroom" and not topic.startswith("$") and not wild
    if len(parts) != 5 or parts[:2] != ["thingroom", "1"]:
        return False
    kid, kind = parts[3], parts[4]
    if user == PAIRING_USER:
        return kind == "hello" if action == "write" else kind == "down"
    return kid == user and (kind in ("up", "hello", "ask", "status") if action == "write" else kind == "down")


def mosquitto_configuration(
    host: str,
    port: int,
    password_file: Path,
    acl_file: Path,
    pid_file: Path,
    user: str,
    window: int,
    largest: int = MAX_FRAME,
) -> str:
    """mosquitto.conf for a broker that the gateway manages.

    `user`: the system account that Mosquitto becomes when root starts it; it must own the files. `window`: how many
    messages it may have under way to the gateway (for MQTT 3.1.1; a version 5 gateway says so itself). `largest`: the
    size of a message at most, in bytes; plain devices may send larger ones. Nothing is kept on disk: a device sends
    again what was not acknowledged.
    """
    return f"""per_listener_settings false
listener {port} {host}
allow_anonymous false
password_file {password_file}
acl_file {acl_file}
pid_file {pid_file}
user {user}
persistence false
message_size_limit {largest}
max_inflight_messages {window}
max_queued_messages 10000
max_keepalive 600
log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages false
"""


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """The files of a broker that we manage. `acl` and `pid` may be None: amqtt needs neither."""

    passwords: Path
    acl: Path | None
    pid: Path | None


class BrokerAccess:
    """Keeps the files as the registry and pairing say. With `files` None the broker is somebody else's."""

    def __init__(
        self,
        files: AccessFiles | None,
        gateway_user: str,
        gateway_password: str,
        registry: Registry,
        pairing: Pairing,
        plain: tuple[str, str] | None = None,
    ) -> None:
        self._plain = plain
        self._files = files
        self._gateway_user = gateway_user
        self._gateway_password = gateway_password
        self._registry = registry
        self._pairing = pairing
        self._lines: dict[tuple[str, str], str] = {}

    def users(self) -> Mapping[str, str]:
        """User names and passwords as they should be now."""
        users = {self._gateway_user: self._gateway_password}
        if self._plain is not None:
            users[self._plain[0]] = self._plain[1]
        window = self._pairing.current()
        if window is not None:
            users[PAIRING_USER] = window.keys.broker_password
        for device in self._registry:
            if device.row.status == ACTIVE and not device.row.attested:
                users[device.kid_hex] = device.broker_password
        return users

    def refresh(self) -> None:
        """Write the files and make Mosquitto read them. What goes wrong is logged: readings matter more."""
        if self._files is None:
            return
        lines = {item: self._lines.get(item) or _fresh_line(*item) for item in self.users().items()}
        self._lines = lines
        try:
            write_access_files(self._files, lines.values(), self._gateway_user, self._plain[0] if self._plain else "")
            if self._files.pid is not None:
                signal_mosquitto(self._files.pid)
        except OSError as error:
            logger.error("the broker's users cannot be written: %s", error)


def write_access_files(files: AccessFiles, lines: Iterable[str], gateway_user: str, plain_user: str = "") -> None:
    """Write password lines and, for Mosquitto, the access file. Raises OSError."""
    text = "".join(f"{line}\n" for line in lines)
    write_private(files.passwords, text.encode())
    if files.acl is not None:
        acl = acl_text(gateway_user, plain_user).encode()
        if not files.acl.exists() or files.acl.read_bytes() != acl:
            write_private(files.acl, acl)


def prepare_access_files(files: AccessFiles, gateway_user: str, gateway_password: str) -> None:
    """Before a broker starts for the first time: files that know the gateway. Existing ones stay. Raises OSError."""
    files.passwords.parent.mkdir(parents=True, exist_ok=True)
    if files.passwords.exists() and (files.acl is None or files.acl.exists()):
        return
    write_access_files(files, [_fresh_line(gateway_user, gateway_password)], gateway_user)


def signal_mosquitto(pid_file: Path) -> bool:
    """Make Mosquitto read its files anew (SIGHUP); False if it does not run. Only ever signals a mosquitto."""
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip())
        if pid <= 1 or not psutil.Process(pid).name().startswith("mosquitto"):
            return False
        os.kill(pid, signal.SIGHUP)
    except (FileNotFoundError, ValueError, ProcessLookupError, PermissionError, psutil.Error):
        return False
    return True


def _fresh_line(user: str, password: str) -> str:
    return password_line(user, password, secrets.token_bytes(_SALT_BYTES))
