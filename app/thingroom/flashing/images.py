"""The MicroPython image that a board file names: downloaded once, kept in the user's cache, held against its digest.

Board files know no digest yet. So the one of the first download is noted, and every later one must have the same: trust
on first use, which is said aloud. https only, also when redirected. May import trouble.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from thingroom.flashing.trouble import FlashError

Progress = Callable[[int, int], None]
MAX_IMAGE = 16 * 1024 * 1024
_TIMEOUT = 30
_CHUNK = 65536


@dataclass(frozen=True)
class GotImage:
    """`note` is what the user should know of where the trust comes from."""

    path: Path
    sha256: str
    note: str


def cache_directory() -> Path:
    """Where images are kept: XDG_CACHE_HOME, else ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or ""
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "thingroom" / "images"


def local_image(path: Path, sha256: str = "") -> GotImage:
    """A file of the user's, held against `sha256` where it is given. Raises FlashError."""
    try:
        if path.stat().st_size > MAX_IMAGE:
            raise FlashError(f"{path} is larger than any image ({MAX_IMAGE} bytes).")
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise FlashError(f"{path} cannot be read: {error.strerror}.") from error
    _compare(found, sha256, str(path))
    return GotImage(path, found, "Its digest is the one that was asked for." if sha256 else f"Its SHA-256 is {found}.")


def get_image(
    url: str, sha256: str, cache: Path, progress: Progress, context: ssl.SSLContext | None = None
) -> GotImage:
    """The image at `url` from the cache, or downloaded. `sha256` "" means: that of the first time. FlashError."""
    name = urlsplit(url).path.rpartition("/")[2]
    path, noted_path = cache / name, cache / f"{name}.sha256"
    noted = noted_path.read_text(encoding="ascii").strip() if noted_path.is_file() else ""
    expected = sha256 or noted
    if path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if expected and hmac.compare_digest(found, expected):
            return GotImage(path, found, "It was downloaded before, and its digest is still the same.")
    data = _download(url, progress, context)
    found = hashlib.sha256(data).hexdigest()
    _compare(found, expected, url)
    cache.mkdir(parents=True, exist_ok=True)
    _keep(path, data)
    _keep(noted_path, found.encode() + b"\n")
    if sha256:
        return GotImage(path, found, "Its digest is the one that the board file names.")
    if noted:
        return GotImage(path, found, "Its digest is the one that was noted before.")
    return GotImage(
        path,
        found,
        f"Nobody has told us its digest, so this first download is trusted because it came from"
        f" {urlsplit(url).hostname} "
        f"over TLS. Its SHA-256 is noted and must be the same from now on: {found}",
    )


def _compare(found: str, expected: str, what: str) -> None:
    if expected and not hmac.compare_digest(found, expected.lower()):
        raise FlashError(
            f"{what} is not what it should be: its SHA-256 is {found}, wanted is {expected}. It is not"
            " used. Download it"
            " by hand from micropython.org and give it with --image, if you trust it."
        )


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, message, headers, url):  # type: ignore[no-untyped-def]
        if urlsplit(url).scheme != "https":
            raise FlashError(f"{request.full_url} sends us to {url}, which is not https. Nothing was downloaded.")
        return super().redirect_request(request, answer, code, message, headers, url)


def _download(url: str, progress: Progress, context: ssl.SSLContext | None) -> bytes:
    if urlsplit(url).scheme != "https":
        raise FlashError(f"{url} is not https. Download it yourself and give it with --image.")
    opener = urllib.request.build_opener(
        _OnlyHttps, urllib.request.HTTPSHandler(context=context or ssl.create_default_context())
    )
    request = urllib.request.Request(url, headers={"User-Agent": "thingroom"})  # noqa: S310 - https, see above
    data = bytearray()
    try:
        with opener.open(request, timeout=_TIMEOUT) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while len(data) <= MAX_IMAGE and (piece := answer.read(_CHUNK)):
                data += piece
                progress(len(data), max(total, len(data)))
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise FlashError(
            f"{url} could not be downloaded: {reason}. Is this computer online? Or download it elsewhere"
            " and give it with"
            " --image FILE."
        ) from error
    if len(data) > MAX_IMAGE:
        raise FlashError(f"{url} is larger than any image ({MAX_IMAGE} bytes). It is not used.")
    if total and len(data) != total:
        raise FlashError(f"The download of {url} ended early ({len(data)} of {total} bytes). Say the same again.")
    return bytes(data)


def _keep(path: Path, data: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data)
    temporary.replace(path)
