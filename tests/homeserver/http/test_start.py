"""What is loaded when the server starts, and what waits until it is used."""

from __future__ import annotations

import subprocess
import sys

LATER = ("PIL", "prometheus_client", "yaml", "aiosmtplib", "click", "rich")


def test_what_is_seldom_used_is_loaded_when_it_is() -> None:
    script = "import sys, thingroom_homeserver.server; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & set(LATER)
