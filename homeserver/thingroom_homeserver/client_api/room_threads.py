"""GET /rooms/{roomId}/threads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.client_api.room_paging import position_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.read_events import present_seen
from thingroom_homeserver.rooms.threads import read_threads
from thingroom_homeserver.rooms.tokens import page_token

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

DEFAULT_LIMIT = 20
MAX_LIMIT = 100


async def threads(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, room_id = services.rooms, viewer_of(request.requester, services), request.path["roomId"]
    include = request.query.get("include", "all")
    if include not in ("all", "participated"):
        raise MatrixError(400, "M_INVALID_PARAM", "include must be all or participated")
    limit = request.query_int("limit", DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT) or DEFAULT_LIMIT
    start, own = position_of(request, "from"), include == "participated"

    def read(connection: Reader) -> dict[str, Any]:
        page = accepted(read_threads(rooms, connection, viewer.user_id, room_id, start, limit, participated=own))
        answer: dict[str, Any] = {"chunk": present_seen(rooms, connection, viewer, page.roots)}
        if page.end is not None:
            answer["next_batch"] = page_token(page.end)
        return answer

    return services.database.read(read)


ENDPOINTS = (Endpoint("GET", client_path("rooms/{roomId}/threads", versions=("v1",)), threads),)
