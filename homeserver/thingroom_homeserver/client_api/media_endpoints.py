"""The endpoints of the content repository, in one list (its configuration is among small_answers.py).

May import the endpoint files beside it; server.py reads it.
"""

from __future__ import annotations

from thingroom_homeserver.client_api import media_download, media_preview, media_thumbnail, media_upload
from thingroom_homeserver.http.endpoint import Endpoint

ENDPOINTS: tuple[Endpoint, ...] = (
    *media_upload.ENDPOINTS,
    *media_download.ENDPOINTS,
    *media_thumbnail.ENDPOINTS,
    *media_preview.ENDPOINTS,
)
