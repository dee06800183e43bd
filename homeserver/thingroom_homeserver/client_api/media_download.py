"""GET /media/download, with a token under /_matrix/client/v1 and without one under /_matrix/media.

Source: client-server API, "Content repository".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingroom_homeserver.client_api.media_answer import file_response, media_error, mxc_of_path, wait_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.media.mxc import Mxc
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused
from thingroom_homeserver.media.presentation import MAX_FILE_NAME, disposition_of

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

LEGACY_VERSIONS = ("v3", "r0", "v1")


async def get_content(request: Request, services: Services) -> Response:
    return await _download(request, services, public=False)


async def get_content_unauthenticated(request: Request, services: Services) -> Response:
    require_legacy(services)
    return await _download(request, services, public=True)


def require_legacy(services: Services) -> None:
    """Raises MatrixError M_NOT_FOUND where media is frozen for those who come without a token."""
    if not services.legacy_media:
        raise media_error(NOT_FOUND)


def allowed_mxc(request: Request, services: Services) -> Mxc:
    """The file of an old path. Raises MatrixError M_NOT_FOUND, also for another server's with allow_remote=false."""
    mxc = mxc_of_path(request)
    if not request.query_bool("allow_remote", True) and mxc.server_name != services.config.server_name:
        raise media_error(NOT_FOUND)
    return mxc


async def _download(request: Request, services: Services, *, public: bool) -> Response:
    name = request.path.get("fileName")
    if name is not None and len(name) > MAX_FILE_NAME:
        raise MatrixError(400, "M_INVALID_PARAM", "The file name is too long")
    mxc = allowed_mxc(request, services) if public else mxc_of_path(request)
    stored = await services.media.find(mxc, wait_of(request))
    file = stored if isinstance(stored, Refused) else await services.media.open(stored.media_id)
    if isinstance(stored, Refused) or isinstance(file, Refused):
        raise media_error(stored if isinstance(stored, Refused) else NOT_FOUND)
    return await file_response(
        request,
        file,
        content_type=stored.content_type,
        disposition=disposition_of(stored.content_type, name or stored.file_name),
        etag=stored.sha256,
        public=public,
    )


def _paths(base: str) -> tuple[str, str]:
    return f"{base}/download/{{serverName}}/{{mediaId}}", f"{base}/download/{{serverName}}/{{mediaId}}/{{fileName}}"


LEGACY = tuple(path for version in LEGACY_VERSIONS for path in _paths(f"/_matrix/media/{version}"))
ENDPOINTS = (
    Endpoint("GET", _paths("/_matrix/client/v1/media"), get_content),
    Endpoint("GET", LEGACY, get_content_unauthenticated, auth=Auth.NONE, limit="media_download"),
)
