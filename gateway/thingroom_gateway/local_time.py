"""The time zone in which people read times.

May import thingroom_common. Charts, tables, the bot and quiet hours ask `local_zone`.
"""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from thingroom_common.config_file import ConfigError


def local_zone(configured: str = "") -> ZoneInfo:
    """The zone of that IANA name; without one the machine's, and UTC where that has no name. Raises ConfigError."""
    if configured:
        try:
            return ZoneInfo(configured)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ConfigError(f"gateway.timezone: there is no time zone {configured!r} on this machine") from None
    for name in _machines_names():
        try:
            return ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            continue
    return ZoneInfo("UTC")


def _machines_names() -> list[str]:
    names = [os.environ.get("TZ", "").lstrip(":")]
    try:
        _, found, name = str(Path("/etc/localtime").resolve()).partition("/zoneinfo/")
        names.append(name if found else "")
        names.append(Path("/etc/timezone").read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError):
        pass
    return [name for name in names if name]
