"""The version of the distribution that is installed.

May import the standard library only.
"""

from __future__ import annotations

from functools import cache
from importlib import metadata


@cache
def version() -> str:
    """ "0.1.0"; "unknown" where the sources run without being installed."""
    try:
        return metadata.version("thingroom")
    except metadata.PackageNotFoundError:
        return "unknown"
