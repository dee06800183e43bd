"""Python environments of their own, in the repository: for programs of others that the tests run as processes and
whose dependencies must not meet ours. Each is made once. Several test workers may ask at the same time; one makes it
and the others wait.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
from pathlib import Path

INSTALL_SECONDS = 600


class EnvironmentUnavailable(Exception):
    """The environment cannot be made; the message says why. Tests let it through: they fail rather than skip."""


def python_with(environment: Path, *requirements: str) -> Path:
    """The interpreter of `environment`, made when it is missing or was made for other requirements.

    Raises EnvironmentUnavailable.
    """
    python = environment / "bin" / "python"
    made, wanted = environment / "made_for", " ".join(requirements)
    try:
        if _says(made, wanted):
            return python
        environment.mkdir(exist_ok=True)
        with (environment / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _says(made, wanted):
                _run(sys.executable, "-m", "venv", str(environment))
                _run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements)
                made.write_text(wanted)
    except subprocess.CalledProcessError as error:
        raise EnvironmentUnavailable(f"{wanted} cannot be installed in {environment}: {error.stderr[-1000:]}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EnvironmentUnavailable(f"{wanted} cannot be installed in {environment}: {error}") from None
    return python


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)
