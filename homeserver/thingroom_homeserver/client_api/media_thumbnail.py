"""GET /media/thumbnail, with a token under /_matrix/client/v1 and without one under /_matrix/media.

Source: client-server API, "Thumbnails".
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from thingroom_homeserver.client_api.media_answer import file_response, media_error, mxc_of_path, wait_of
from thingroom_homeserver.client_api.media_download import LEGACY_VERSIONS, allowed_mxc, require_legacy
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused
from thingroom_homeserver.media.thumbnail_size import Method
from thingroom_homeserver.media.thumbnails import Thumbnail

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

LARGEST = 10_000
"""Sides of thumbnails are cut down to this many pixels: no picture that is thumbnailed has much longer ones."""


async def get_thumbnail(request: Request, services: Services) -> Response:
    return await _thumbnail(request, services, public=False)


async def get_thumbnail_unauthenticated(request: Request, services: Services) -> Response:
    require_legacy(services)
    return await _thumbnail(request, services, public=True)


async def _thumbnail(request: Request, services: Services, *, public: bool) -> Response:
    mxc = allowed_mxc(request, services) if public else mxc_of_path(request)
    width, height = _side(request, "width"), _side(request, "height")
    method = request.query.get("method", "scale")
    if method not in ("crop", "scale"):
        raise MatrixError(400, "M_INVALID_PARAM", "method must be crop or scale")
    animated = request.query_bool("animated")
    stored = await services.media.find(mxc, wait_of(request))
    if isinstance(stored, Refused):
        raise media_error(stored)
    made = await services.thumbnails.get(stored, width, height, cast(Method, method), animated=animated)
    if isinstance(made, Refused):
        raise media_error(made)
    return await _send(request, stored.sha256, made, public=public)


async def _send(request: Request, sha256: str, made: Thumbnail, *, public: bool) -> Response:
    try:
        file = made.path.open("rb")
    except FileNotFoundError:  # deleted since
        raise media_error(NOT_FOUND) from None
    suffix = made.content_type.partition("/")[2]
    return await file_response(
        request,
        file,
        content_type=made.content_type,
        disposition=f'inline; filename="thumbnail.{suffix}"',
        etag=f"{sha256[:32]}-{Path(made.path).stem}",
        public=public,
    )


def _side(request: Request, name: str) -> int:
    side = request.query_int(name, lowest=1, highest=LARGEST)
    if side is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
    return side


_PATH = "thumbnail/{serverName}/{mediaId}"
ENDPOINTS = (
    Endpoint("GET", (f"/_matrix/client/v1/media/{_PATH}",), get_thumbnail, limit="media_thumbnail"),
    Endpoint(
        "GET",
        tuple(f"/_matrix/media/{version}/{_PATH}" for version in LEGACY_VERSIONS),
        get_thumbnail_unauthenticated,
        auth=Auth.NONE,
        limit="media_thumbnail",
    ),
)
