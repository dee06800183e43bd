"""What the tests use beside Python packages: says what is missing, and makes what can be made.

Run by `make test` and `make bench` before pytest: Debian's programs are looked for; the environments of Synapse and of
the bridges, the Rust SDK and the browser's JavaScript packages are installed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from hil.application import application
from hil.build import firmware
from tests.bridges.bridge_environment import bridges_python
from tests.rust_sdk.environment import rust_sdk_folder
from tests.synapse_peer.environment import synapse_python

BROWSER = Path(__file__).parent / "browser"
PROGRAMS = {
    "mosquitto": "mosquitto",
    "mosquitto_passwd": "mosquitto",
    "chromium": "chromium",
    "turnserver": "coturn",
    "node": "nodejs",
    "npm": "npm",
    "ngircd": "ngircd",
    "cmake": "cmake",
    "g++": "g++",
    "pg_ctlcluster": "postgresql",
    "redis-server": "redis-server",
    "qemu-system-arm": "qemu-system-arm",
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
}


def missing_packages() -> list[str]:
    """Debian packages whose programs are not to be found here, sorted."""
    path = os.environ.get("PATH", "") + os.pathsep + "/usr/sbin"
    return sorted({package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None})


def main() -> None:
    missing = missing_packages()
    if missing:
        sys.exit(f"The tests need programs that are not installed. Try: sudo apt-get install {' '.join(missing)}")
    print("preparing the Synapse environment (once; about half a minute) ...", flush=True)
    synapse_python()
    print("preparing the bridges' environment (once; about half a minute) ...", flush=True)
    bridges_python()
    print("preparing the emulated board's firmware (once; about half a minute) ...", flush=True)
    firmware()
    application()
    print("preparing the Rust SDK (once; 30 MB) ...", flush=True)
    rust_sdk_folder()
    if not _installed_as_locked():
        print("installing the browser tests' packages ...", flush=True)
        subprocess.run(["npm", "ci", "--no-audit", "--no-fund", "--silent"], cwd=BROWSER, check=True)


def _installed_as_locked() -> bool:
    """Whether npm has installed what package-lock.json says now; packages for other platforms are never there.

    By content: in a fresh checkout the lock file is newer than anything installed, and `npm ci` begins by deleting.
    """
    installed = BROWSER / "node_modules" / ".package-lock.json"
    if not installed.exists():
        return False
    found, wanted = (json.loads(path.read_text())["packages"] for path in (installed, BROWSER / "package-lock.json"))
    return all(
        found[name] == package if name in found else name == "" or package.get("optional", False)
        for name, package in wanted.items()
    )


if __name__ == "__main__":
    main()
