"""GET /media/preview_url: what a linked page says about itself.

Source: client-server API, "Content repository".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.media_answer import media_error
from thingroom_homeserver.http.endpoint import Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError, unrecognized
from thingroom_homeserver.media.outcomes import Refused

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_preview(request: Request, services: Services) -> dict[str, Any]:
    if services.previews is None:
        raise unrecognized(404)
    request.query_int("ts")  # an hour's difference is all that we keep; it has to be a time all the same
    url = request.query.get("url")
    if not url:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: url")
    preview = await services.previews.get(url)
    if isinstance(preview, Refused):
        raise media_error(preview)
    return preview


PATHS = (
    "/_matrix/client/v1/media/preview_url",
    *(f"/_matrix/media/{version}/preview_url" for version in ("v3", "r0", "v1")),
)
ENDPOINTS = (Endpoint("GET", PATHS, get_preview, limit="media_preview"),)
