"""GET /_matrix/federation/v1/media/download and /thumbnail: files that were uploaded here, in the second of two parts.

May import the media package and the HTTP types. Files are streamed. Source: Server-Server API, "Content Repository".
The other direction is federation/remote_media.py.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from typing import TYPE_CHECKING, BinaryIO, cast

from aiohttp import web

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.media.mxc import mxc_of
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused, StoredFile, Why
from thingroom_homeserver.media.presentation import disposition_of
from thingroom_homeserver.media.thumbnail_size import Method

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

DEFAULT_WAIT_MS = 20_000
MAX_WAIT_MS = 60_000
READ_BYTES = 262_144
LARGEST_SIDE = 10_000
RETRY_SECONDS = 5.0
_STATUS_AND_ERRCODE: dict[Why, tuple[int, str]] = {
    Why.NOT_FOUND: (404, "M_NOT_FOUND"),
    Why.TOO_LARGE: (413, "M_TOO_LARGE"),
    Why.NOT_YET_UPLOADED: (504, "M_NOT_YET_UPLOADED"),
    Why.CANNOT_THUMBNAIL: (400, "M_UNKNOWN"),
}


async def download(request: Request, services: Services) -> Response:
    stored = await _stored(request, services)
    file = await services.media.open(stored.media_id)
    if isinstance(file, Refused):
        raise _error(file)
    return await _two_parts(request, file, stored.content_type, disposition_of(stored.content_type, stored.file_name))


async def thumbnail(request: Request, services: Services) -> Response:
    width, height = _side(request, "width"), _side(request, "height")
    method = request.query.get("method", "scale")
    if method not in ("crop", "scale"):
        raise MatrixError(400, "M_INVALID_PARAM", "method must be crop or scale")
    animated = request.query_bool("animated")
    stored = await _stored(request, services)
    made = await services.thumbnails.get(stored, width, height, cast(Method, method), animated=animated)
    if isinstance(made, Refused):
        raise _error(made)
    try:
        file = await asyncio.to_thread(made.path.open, "rb")
    except FileNotFoundError:  # deleted since
        raise _error(NOT_FOUND) from None
    name = f"thumbnail.{made.content_type.partition('/')[2]}"
    return await _two_parts(request, file, made.content_type, disposition_of(made.content_type, name))


async def _stored(request: Request, services: Services) -> StoredFile:
    """The local file that the path names, waiting for one that is announced. Raises MatrixError."""
    mxc = mxc_of(services.config.server_name, request.path["mediaId"])
    wait_ms = request.query_int("timeout_ms", DEFAULT_WAIT_MS, highest=MAX_WAIT_MS) or 0
    stored = NOT_FOUND if mxc is None else await services.media.find(mxc, wait_ms)
    if isinstance(stored, Refused):
        raise _error(stored)
    return stored


def _error(refused: Refused) -> MatrixError:
    if refused.why is Why.BUSY:
        return limit_exceeded(RETRY_SECONDS)
    status, errcode = _STATUS_AND_ERRCODE.get(refused.why, (404, "M_NOT_FOUND"))
    return MatrixError(status, errcode, refused.text)


def _side(request: Request, name: str) -> int:
    side = request.query_int(name, lowest=1, highest=LARGEST_SIDE)
    if side is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
    return side


async def _two_parts(request: Request, file: BinaryIO, content_type: str, disposition: str) -> Response:
    """The metadata, of which there are none, and the file; then close it."""
    try:
        boundary = secrets.token_hex(16)
        before = (
            f"--{boundary}\r\nContent-Type: application/json\r\n\r\n{{}}\r\n"
            f"--{boundary}\r\nContent-Type: {content_type}\r\nContent-Disposition: {disposition}\r\n\r\n"
        ).encode()
        after = f"\r\n--{boundary}--\r\n".encode()
        left = os.fstat(file.fileno()).st_size
        headers = {"Content-Type": f"multipart/mixed; boundary={boundary}", "Server": "Thingroom"}
        response = web.StreamResponse(headers=headers)
        response.content_length = len(before) + left + len(after)
        await response.prepare(request.http)
        await response.write(before)
        while left:
            data = await asyncio.to_thread(file.read, min(READ_BYTES, left))
            if not data:
                raise ConnectionResetError("the file became shorter")
            left -= len(data)
            await response.write(data)
        await response.write_eof(after)
        return response
    finally:
        file.close()


_BASE = "/_matrix/federation/v1/media"
ENDPOINTS = (
    Endpoint("GET", (f"{_BASE}/download/{{mediaId}}",), download, auth=Auth.SERVER, limit="server_media"),
    Endpoint("GET", (f"{_BASE}/thumbnail/{{mediaId}}",), thumbnail, auth=Auth.SERVER, limit="server_media"),
)
