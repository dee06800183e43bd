"""The Rust SDK under Element X, as its Python bindings bring it: unpacked once into `.rust_sdk/`, used by tests only.

The wheel holds one shared library and generated ctypes code, so one serves every Python on Linux x86-64. It is never
imported by our programs or tests, but by a process of its own (client_process.py). The library is made for a newer C
library than Debian 12 has; older_glibc.py is about that. Several test workers may ask at the same time.
"""

from __future__ import annotations

import fcntl
import hashlib
import platform
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.rust_sdk.older_glibc import without_c23_functions

SDK = "matrix-sdk-python==0.18.0"
SHA256 = "5093839645a82b6bf445266593972bffae1d8baaece0cec397484ee2b3422c64"
ENVIRONMENT = Path(__file__).resolve().parents[2] / ".rust_sdk"
LIBRARY = Path("matrix_sdk_python/_generated/libmatrix_sdk_ffi.so")
NEEDED_GLIBC = (2, 38)
DOWNLOAD_SECONDS = 300


class RustSdkUnavailable(Exception):
    """The SDK cannot be had; the message says why. Tests let it through: they fail rather than skip."""


def rust_sdk_folder(environment: Path = ENVIRONMENT) -> Path:
    """The folder that PYTHONPATH must name. Makes it when it is missing or of another version.

    Raises RustSdkUnavailable.
    """
    made = environment / "made_for"
    try:
        if _says(made, SHA256):
            return environment
        environment.mkdir(exist_ok=True)
        with (environment / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _says(made, SHA256):
                _unpack(environment)
                made.write_text(SHA256)
    except subprocess.CalledProcessError as error:
        raise RustSdkUnavailable(f"{SDK} cannot be downloaded: {error.stderr[-1000:]}") from None
    except (OSError, subprocess.TimeoutExpired, zipfile.BadZipFile) as error:
        raise RustSdkUnavailable(f"{SDK} cannot be unpacked into {environment}: {error}") from None
    return environment


def _unpack(environment: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        wanted = ("--platform", "manylinux_2_38_x86_64", "--python-version", "3.11", "--abi", "cp311")
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check")
        subprocess.run(
            (*pip, "--no-deps", "--only-binary", ":all:", *wanted, "--dest", folder, SDK),
            check=True,
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
        )
        (wheel,) = Path(folder).glob("*.whl")
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256:
            raise RustSdkUnavailable(f"{wheel.name} is not the file that it was when these tests were written")
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(environment)
    if _glibc() < NEEDED_GLIBC:
        library = environment / LIBRARY
        library.write_bytes(without_c23_functions(library.read_bytes()))


def _glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else NEEDED_GLIBC


def _says(path: Path, text: str) -> bool:
    return path.exists() and path.read_text() == text
