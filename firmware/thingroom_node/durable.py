"""Files that survive a kill or a power cut at any instant.

`write_atomic` replaces a whole small file: new content beside it, flushed, then renamed over. The content carries a
CRC-32, so a file that the storage damaged is told from a good one. May import the standard library only; runs on
MicroPython (whose `flush` is an fsync on the unix port and a sync on littlefs) and on CPython alike.
Read outbox.py next.
"""

import os
from binascii import crc32

_CRC_BYTES = 4


class StorageError(Exception):
    """A file that must be there is missing or damaged; the message is one sentence for the owner."""


def sync(file):
    """Flush `file` to the storage itself; returns when it is there."""
    file.flush()
    if hasattr(os, "fsync"):
        os.fsync(file.fileno())


def exists(path):
    """Whether `path` names a file or a directory."""
    try:
        os.stat(path)
    except OSError:
        return False
    return True


def size_of(path):
    """Length of the file in bytes. Raises OSError."""
    return os.stat(path)[6]


def remove(path):
    """Remove the file; a file that is already gone is fine."""
    try:
        os.remove(path)
    except OSError:
        if exists(path):
            raise


def make_directory(path):
    """Make `path` and its missing parents; a directory that is already there is fine."""
    if exists(path):
        return
    parent = path.rstrip("/")
    parent = parent[: max(0, parent.rfind("/"))]
    if parent and not exists(parent):
        make_directory(parent)
    os.mkdir(path.rstrip("/") or "/")


def write_atomic(path, data):
    """Replace the content of `path` by `data` (bytes): after a kill the file holds the old or the new, never a mix."""
    beside = path + ".new"
    with open(beside, "wb") as file:
        file.write(data)
        file.write(crc32(data).to_bytes(_CRC_BYTES, "big"))
        sync(file)
    os.rename(beside, path)


def read_checked(path, max_bytes=4096):
    """Content that `write_atomic` stored, or None where there is no file. Raises StorageError when it is damaged."""
    if not exists(path):
        return None
    with open(path, "rb") as file:
        stored = file.read(max_bytes + _CRC_BYTES + 1)
    data = stored[:-_CRC_BYTES]
    if len(stored) < _CRC_BYTES or len(data) > max_bytes:
        raise StorageError(path + " has an impossible length.")
    if crc32(data).to_bytes(_CRC_BYTES, "big") != stored[-_CRC_BYTES:]:
        raise StorageError(path + " is damaged: its checksum does not match.")
    return data
