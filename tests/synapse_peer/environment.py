"""Synapse's own Python environment, `.synapse/` in the repository: made once, used by tests and benchmarks only.

Synapse is never imported by our programs or tests: it is spoken to as a process (oracle.py, server.py). Several
test workers may ask at the same time; one makes it and the others wait.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

SYNAPSE = "matrix-synapse==1.163.2"
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".synapse"
INSTALL_SECONDS = 600


class SynapseUnavailable(Exception):
    """The environment cannot be made; the message says why. Tests let it through: they fail rather than skip."""


def synapse_python(environment: Path = ENVIRONMENT) -> Path:
    """The interpreter that can import synapse. Makes the environment when it is missing or of another version.

    Raises SynapseUnavailable.
    """
    python = environment / "bin" / "python"
    made = environment / "made_for"
    try:
        if _says(made, SYNAPSE):
            return python
        environment.mkdir(exist_ok=True)
        with (environment / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _says(made, SYNAPSE):
                _run(sys.executable, "-m", "venv", str(environment))
                _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", SYNAPSE)
                made.write_text(SYNAPSE)
    except subprocess.CalledProcessError as error:
        raise SynapseUnavailable(f"{SYNAPSE} cannot be installed in {environment}: {error.stderr[-1000:]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SynapseUnavailable(f"{SYNAPSE} cannot be installed in {environment}: {error}") from None
    return python


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
