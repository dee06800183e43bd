"""A real Mosquitto for tests, on a free port of the loopback, in a directory of its own."""

from __future__ import annotations

import datetime
import getpass
import ipaddress
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.free_port import free_port
from tests.patience import PATIENCE_SECONDS

from thingroom_gateway.broker_access import AccessFiles, mosquitto_configuration, prepare_access_files

GATEWAY_PASSWORD = "gateway-password-for-tests"


def wait_for_port(port: int, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


@dataclass
class Mosquitto:
    """A broker that runs. `files` as the gateway manages them."""

    port: int
    files: AccessFiles
    configuration: Path
    process: subprocess.Popen[bytes]
    tls_port: int = 0

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(PATIENCE_SECONDS)

    def restart(self) -> None:
        self.stop()
        self.process = _start(self.configuration)
        wait_for_port(self.port)


def mosquitto(
    directory: Path,
    open_to_all: bool = False,
    size_limit: bool = True,
    window: int = 512,
    certificate: tuple[Path, Path] | None = None,
    client_ca: Path | None = None,
) -> Mosquitto:
    """Start one. `open_to_all`: no users and no rules; `size_limit` False: takes messages of any size.

    With a `certificate` (its file, its key's file) there is a second listener, with TLS, on `tls_port`; with a
    `client_ca` it lets nobody in without a certificate of that authority.
    """
    directory.mkdir()
    port = free_port()
    files = AccessFiles(directory / "passwords", directory / "acl", directory / "mosquitto.pid")
    prepare_access_files(files, "gateway", GATEWAY_PASSWORD)
    text = mosquitto_configuration(
        "127.0.0.1", port, files.passwords, directory / "acl", directory / "mosquitto.pid", getpass.getuser(), window
    )
    if open_to_all:
        text = text.replace("allow_anonymous false", "allow_anonymous true")
        text = "\n".join(line for line in text.splitlines() if not line.startswith(("password_file", "acl_file")))
    if not size_limit:
        text = "\n".join(line for line in text.splitlines() if not line.startswith("message_size_limit"))
    tls_port = 0
    if certificate is not None:
        tls_port = free_port()
        text += f"\nlistener {tls_port} 127.0.0.1\ncertfile {certificate[0]}\nkeyfile {certificate[1]}"
    if client_ca is not None:
        text += f"\ncafile {client_ca}\nrequire_certificate true"
    configuration = directory / "mosquitto.conf"
    configuration.write_text(text + "\n")
    process = _start(configuration)
    wait_for_port(port)
    return Mosquitto(port, files, configuration, process, tls_port)


def _start(configuration: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    return subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "broker")])
    today = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "broker.crt", directory / "broker.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files
