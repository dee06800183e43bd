"""POST /media/upload, POST /media/v1/create and PUT /media/upload/{serverName}/{mediaId}.

Source: client-server API, "Content repository".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from aiohttp import web

from thingroom_homeserver.client_api.media_answer import media_error, mxc_of_path
from thingroom_homeserver.http.endpoint import Body, Endpoint, Request, Response, json_response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.media.mxc import Mxc
from thingroom_homeserver.media.outcomes import Refused, StoredFile
from thingroom_homeserver.media.presentation import MAX_FILE_NAME, content_type_of

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

IDLE_SECONDS = 60.0
"""How long an upload may send nothing."""


async def post_create(request: Request, services: Services) -> dict[str, Any]:
    reserved = await services.media.reserve(request.requester.user_id)
    if isinstance(reserved, Refused):
        raise media_error(reserved)
    return {"content_uri": services.media.uri(reserved.media_id), "unused_expires_at": reserved.expires_ms}


async def post_upload(request: Request, services: Services) -> Response:
    stored = await _upload(request, services, None)
    if isinstance(stored, Refused):
        return _refusal(request, stored)
    return json_response({"content_uri": services.media.uri(stored.media_id)})


async def put_upload(request: Request, services: Services) -> Response:
    stored = await _upload(request, services, mxc_of_path(request))
    return _refusal(request, stored) if isinstance(stored, Refused) else json_response({})


async def _upload(request: Request, services: Services, reserved: Mxc | None) -> StoredFile | Refused:
    file_name = request.query.get("filename") or None
    if file_name is not None and len(file_name) > MAX_FILE_NAME:
        raise MatrixError(400, "M_INVALID_PARAM", f"filename may have at most {MAX_FILE_NAME} characters")
    return await services.media.upload(
        request.requester.user_id,
        _chunks(request.http),
        announced=request.http.content_length,
        content_type=content_type_of(request.http.headers.get("Content-Type")),
        file_name=file_name,
        reserved=reserved,
    )


async def _chunks(http: web.Request) -> AsyncIterator[bytes]:
    while True:
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                chunk = await http.content.readany()
        except TimeoutError:
            raise MatrixError(408, "M_UNKNOWN", "The upload has stopped", headers={"Connection": "close"}) from None
        if not chunk:
            return
        yield chunk


def _refusal(request: Request, refused: Refused) -> Response:
    """The error; where the body has not been read to its end, the connection is of no more use."""
    error = media_error(refused)
    headers = dict(error.headers)
    if not request.http.content.is_eof():
        headers["Connection"] = "close"
    return json_response(error.body(), error.status, headers)


UPLOAD = tuple(f"/_matrix/media/{version}/upload" for version in ("v3", "r0", "v1"))
ENDPOINTS = (
    Endpoint("POST", UPLOAD, post_upload, limit="media_upload", body=Body.STREAM),
    Endpoint("POST", ("/_matrix/media/v1/create",), post_create, limit="media_upload"),
    Endpoint(
        "PUT",
        tuple(f"{path}/{{serverName}}/{{mediaId}}" for path in UPLOAD),
        put_upload,
        limit="media_upload",
        body=Body.STREAM,
    ),
)
