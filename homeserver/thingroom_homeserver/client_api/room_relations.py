"""GET /rooms/{roomId}/relations/{eventId}, .../{relType}, .../{relType}/{eventType}."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.client_api.room_paging import page_wish_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.rooms.read_events import RECURSION_DEPTH, RelationsWish, present_seen, read_relations
from thingroom_homeserver.rooms.tokens import page_token

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

_BASE = "rooms/{roomId}/relations/{eventId}"
_PATHS = tuple(
    path
    for ending in ("", "/{relType}", "/{relType}/{eventType}")
    for path in client_path(_BASE + ending, versions=("v1", "unstable"))
)


async def relations(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, path = services.rooms, viewer_of(request.requester, services), request.path
    wish = RelationsWish(
        page_wish_of(request),
        path["eventId"],
        path.get("relType"),
        path.get("eventType"),
        request.query_bool("recurse") or request.query_bool("org.matrix.msc3981.recurse"),
    )

    def read(connection: Reader) -> dict[str, Any]:
        page = accepted(read_relations(rooms, connection, viewer.user_id, wish))
        answer: dict[str, Any] = {"chunk": present_seen(rooms, connection, viewer, page.events)}
        if page.end is not None:
            answer["next_batch"] = page_token(page.end)
        if wish.page.start is not None:
            answer["prev_batch"] = page_token(wish.page.start)
        if wish.recurse:
            answer["recursion_depth"] = RECURSION_DEPTH
        return answer

    return services.database.read(read)


ENDPOINTS = (Endpoint("GET", _PATHS, relations),)
