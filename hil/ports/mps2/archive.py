"""Writes the archive that the port imports from: files by name, as archive.c beside this file describes it."""

from __future__ import annotations

from collections.abc import Mapping

MAGIC = b"TRA1"


def archive(files: Mapping[str, bytes]) -> bytes:
    """The archive of `files`, contents by path such as "thingroom_wire/cbor.mpy" (at most 255 bytes of UTF-8)."""
    parts = [MAGIC]
    for path, contents in files.items():
        name = path.encode()
        parts += [bytes((len(name),)), name, len(contents).to_bytes(4, "little"), contents]
    return b"".join([*parts, b"\0"])
