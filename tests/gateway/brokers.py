"""A real Mosquitto for tests, on a free port of the loopback, in a directory of its own."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from thingroom_gateway.broker_access import AccessFiles, mosquitto_configuration, prepare_access_files

GATEWAY_PASSWORD = "gateway-password-for-tests"


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 10.0) -> None:
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

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(10)

    def restart(self) -> None:
        self.stop()
        self.process = _start(self.configuration)
        wait_for_port(self.port)


def mosquitto(directory: Path, open_to_all: bool = False, size_limit: bool = True, window: int = 512) -> Mosquitto:
    """Start one. `open_to_all`: no users and no rules; `size_limit` False: takes messages of any size."""
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
    configuration = directory / "mosquitto.conf"
    configuration.write_text(text + "\n")
    process = _start(configuration)
    wait_for_port(port)
    return Mosquitto(port, files, configuration, process)


def _start(configuration: Path) -> subprocess.Popen[bytes]:
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    return subprocess.Popen([program, "-c", str(configuration)], stderr=subprocess.DEVNULL)
