"""mxc:// URIs: the names of files in the content repository.

Pure: imports only core's identifiers. Source: client-server API, "Matrix Content (mxc://) URIs" and its security
considerations. Next: repository.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from thingroom_homeserver.core.identifiers import is_valid_server_name

SCHEME = "mxc://"
_MEDIA_ID = re.compile(r"[A-Za-z0-9_-]{1,255}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mxc:
    """A file: the server that it was uploaded to, and its name there."""

    server_name: str
    media_id: str

    def __str__(self) -> str:
        return f"{SCHEME}{self.server_name}/{self.media_id}"


def mxc_of(server_name: str, media_id: str) -> Mxc | None:
    """The two segments of a path as a checked URI, or None: only what fits the grammar may get near a file name."""
    if not is_valid_server_name(server_name) or _MEDIA_ID.fullmatch(media_id) is None:
        return None
    return Mxc(server_name, media_id)


def parse_mxc(text: str) -> Mxc | None:
    """`mxc://server/id`, or None."""
    if not text.startswith(SCHEME):
        return None
    server_name, slash, media_id = text.removeprefix(SCHEME).partition("/")
    return mxc_of(server_name, media_id) if slash else None
