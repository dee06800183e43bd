"""GET /media/download, with a token under /_matrix/client/v1 and without one under /_matrix/media.

Source: client-server API, "Content repository".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from thingroom_homeserver.client_api.media_answer import file_response, media_error, mxc_of_path, wait_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response
from thingroom_homeserver.http.errors import MatrixError
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


async def _download(request: Request, services: Services, *, public: bool) -> Response:
    name = request.path.get("fileName")
    if name is not None and len(name) > MAX_FILE_NAME:
        raise MatrixError(400, "M_INVALID_PARAM", "The file name is too long")
    stored = await services.media.find(mxc_of_path(request), wait_of(request))
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
