"""The bytes of the content repository, as files under data_directory/media.

    arriving/<id>            being written, or written and not moved yet
    local/<ab>/<cd>/<id>     uploaded files
    remote/<ab>/<cd>/<id>    files of other servers; these ids end in REMOTE_SUFFIX, which no uploaded file's does
    thumbnails/<ab>/<cd>/<id>/<name>

May import the standard library only. Every function blocks: call them in a thread. An upload is written under
arriving/, synced, recorded in the database and only then moved, so that after a crash `recover` can tell what was
answered for from what was not, without looking at more than arriving/. Names come from media/mxc.py, checked there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

REMOTE_SUFFIX = ".remote"


class ArrivingFile:
    """A file that is being uploaded. `finish` or `discard` it; one that is `recorded` must not be discarded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.recorded = False
        self._digest = hashlib.sha256()
        self._file = os.fdopen(os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600), "wb", 0)

    def write(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def finish(self) -> None:
        """Make sure that it is on the disk, name and all."""
        os.fsync(self._file.fileno())
        self._file.close()
        _sync_folder(self.path.parent)

    def discard(self) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)


class MediaFiles:
    """The folders of the content repository below `root`, made when something is first put there."""

    def __init__(self, root: Path) -> None:
        self._arriving = root / "arriving"
        self._local = root / "local"
        self._remote = root / "remote"
        self._thumbnails = root / "thumbnails"

    def start(self, media_id: str) -> ArrivingFile:
        """Begin to write a file; the caller sees to it that nobody else writes the same one. Raises OSError."""
        _make(self._arriving)
        return ArrivingFile(self._arriving / media_id)

    def settle(self, media_id: str) -> None:
        """Move what has arrived, and is recorded, to its place."""
        place = self._place(media_id)
        _make(place.parent)
        (self._arriving / media_id).rename(place)
        _sync_folder(place.parent)

    def open(self, media_id: str) -> BinaryIO:
        """Open an uploaded file. Raises FileNotFoundError."""
        while True:
            path = self.path_of(media_id)
            try:
                return path.open("rb")
            except FileNotFoundError:
                if path.parent != self._arriving:
                    raise  # else it was moved while we looked

    def path_of(self, media_id: str) -> Path:
        """Where an uploaded file is, or would be."""
        arriving = self._arriving / media_id
        return arriving if arriving.exists() else self._place(media_id)

    def delete(self, media_id: str) -> None:
        """Remove a file and its thumbnails, as far as they are there."""
        self._place(media_id).unlink(missing_ok=True)
        (self._arriving / media_id).unlink(missing_ok=True)
        shutil.rmtree(self._thumbnail_folder(media_id), ignore_errors=True)

    def recover(self, is_recorded: Callable[[str], bool]) -> None:
        """After a start: keep what was recorded before the crash, remove what was not."""
        if not self._arriving.is_dir():
            return
        for path in list(self._arriving.iterdir()):
            if is_recorded(path.name):
                self.settle(path.name)
            else:
                path.unlink()

    def thumbnail(self, media_id: str, name: str) -> Path:
        """Where the thumbnail of that name is, or would be."""
        return self._thumbnail_folder(media_id) / name

    def keep_thumbnail(self, media_id: str, name: str, data: bytes) -> Path:
        """Write a thumbnail; whoever looks sees all of it or nothing."""
        path = self.thumbnail(media_id, name)
        _make(path.parent)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.rename(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return path

    def _place(self, media_id: str) -> Path:
        folder = self._remote if media_id.endswith(REMOTE_SUFFIX) else self._local
        return folder.joinpath(*_shard(media_id))

    def _thumbnail_folder(self, media_id: str) -> Path:
        return self._thumbnails.joinpath(*_shard(media_id))


def _shard(media_id: str) -> tuple[str, str, str]:
    """A thousandth of a thousandth of the files in one folder; names of a letter or two get folders all the same."""
    padded = media_id.ljust(4, "_")
    return padded[:2], padded[2:4], media_id


def _make(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
