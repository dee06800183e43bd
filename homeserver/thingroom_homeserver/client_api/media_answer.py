"""What the media endpoints share: names out of paths, refusals into errors, files into responses.

May import the media package and the HTTP types. Files are streamed: a piece is in memory, never the whole.
Sources: client-server API, "Content repository"; RFC 9110 (ranges, validators).
"""

from __future__ import annotations

import asyncio
import os
from typing import BinaryIO

from aiohttp import web

from thingroom_homeserver.http.endpoint import CORS_HEADERS, Request
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.media.byte_range import Unsatisfiable, wanted_range
from thingroom_homeserver.media.mxc import Mxc, mxc_of
from thingroom_homeserver.media.outcomes import Refused, Why
from thingroom_homeserver.media.presentation import PROTECTION

READ_BYTES = 262_144
DEFAULT_WAIT_MS = 20_000
MAX_WAIT_MS = 60_000
_RETRY_SECONDS = 5.0

_STATUS_AND_ERRCODE: dict[Why, tuple[int, str]] = {
    Why.NOT_FOUND: (404, "M_NOT_FOUND"),
    Why.FORBIDDEN: (403, "M_FORBIDDEN"),
    Why.TOO_LARGE: (413, "M_TOO_LARGE"),
    Why.OVERWRITE: (409, "M_CANNOT_OVERWRITE_MEDIA"),
    Why.NOT_YET_UPLOADED: (504, "M_NOT_YET_UPLOADED"),
    Why.CANNOT_THUMBNAIL: (400, "M_UNKNOWN"),
    Why.UNREACHABLE: (502, "M_UNKNOWN"),
    Why.INVALID: (400, "M_INVALID_PARAM"),
}


def media_error(refused: Refused) -> MatrixError:
    """The error response for a refusal of the content repository."""
    if refused.why in (Why.TOO_MANY_PENDING, Why.BUSY):
        return limit_exceeded(_RETRY_SECONDS)
    status, errcode = _STATUS_AND_ERRCODE[refused.why]
    return MatrixError(status, errcode, refused.text)


def mxc_of_path(request: Request) -> Mxc:
    """{serverName} and {mediaId} of the path. Raises MatrixError M_NOT_FOUND for what cannot name a file."""
    mxc = mxc_of(request.path["serverName"], request.path["mediaId"])
    if mxc is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such file")
    return mxc


def wait_of(request: Request) -> int:
    """`?timeout_ms=`, in milliseconds. Raises MatrixError M_INVALID_PARAM."""
    return request.query_int("timeout_ms", DEFAULT_WAIT_MS, highest=MAX_WAIT_MS) or 0


async def file_response(
    request: Request, file: BinaryIO, *, content_type: str, disposition: str, etag: str, public: bool
) -> web.StreamResponse:
    """Send `file`, or the part that the request wants of it, and close it. `public`: whoever knows the name may ask."""
    try:
        size = os.fstat(file.fileno()).st_size
        quoted = f'"{etag}"'
        headers = {
            "ETag": quoted,
            "Cache-Control": f"{'public' if public else 'private'}, max-age=86400, immutable",
            "Accept-Ranges": "bytes",
            "Server": "Thingroom",
            **PROTECTION,
            **CORS_HEADERS,
        }
        if _names(request.http.headers.get("If-None-Match"), quoted):
            return web.Response(status=304, headers=headers)
        headers |= {"Content-Type": content_type, "Content-Disposition": disposition}
        wanted = wanted_range(_range_header(request, quoted), size)
        if isinstance(wanted, Unsatisfiable):
            where = {"Content-Range": f"bytes */{size}"}
            raise MatrixError(416, "M_UNKNOWN", "The file has no such bytes", headers=where)
        first, length = 0, size
        if wanted is not None:
            first, length = wanted.first, wanted.length
            headers["Content-Range"] = f"bytes {wanted.first}-{wanted.last}/{size}"
        response = web.StreamResponse(status=200 if wanted is None else 206, headers=headers)
        response.content_length = length
        await response.prepare(request.http)
        await _send(response, file, first, length)
        await response.write_eof()
        return response
    finally:
        file.close()


async def _send(response: web.StreamResponse, file: BinaryIO, first: int, length: int) -> None:
    file.seek(first)
    while length:
        data = await asyncio.to_thread(file.read, min(READ_BYTES, length))
        if not data:
            raise ConnectionResetError("the file became shorter")
        length -= len(data)
        await response.write(data)


def _names(header: str | None, etag: str) -> bool:
    """Whether an If-None-Match names the entity tag (weak comparison, RFC 9110 section 13.1.2)."""
    if header is None:
        return False
    return header.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in header.split(","))


def _range_header(request: Request, etag: str) -> str | None:
    """The Range header, unless an If-Range says that it was meant for another file."""
    if_range = request.http.headers.get("If-Range")
    return request.http.headers.get("Range") if if_range in (None, etag) else None
