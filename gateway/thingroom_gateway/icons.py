"""Which picture a device's ghost has, by the icon of its profile.

Pure; imports the standard library only. rooms.py asks for names, pictures.py draws what has one.
"""

from __future__ import annotations

from typing import Final

HOME: Final = "home"
ATTESTED: Final = "-attested"


def name_of(icon: str, attested: bool) -> str:
    """The picture of a device, signing or attested: the icon without its variation selector."""
    return icon.removesuffix("\ufe0f") + (ATTESTED if attested else "")
