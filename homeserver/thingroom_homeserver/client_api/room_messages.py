"""GET /rooms/{roomId}/messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.history import filled_page
from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.client_api.room_paging import event_filter_of, page_wish_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.read_events import present_seen, senders_members
from thingroom_homeserver.rooms.tokens import page_token

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader


async def messages(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer = services.rooms, viewer_of(request.requester, services)
    if "dir" not in request.query:
        raise MatrixError(400, "M_MISSING_PARAM", "dir must be b or f")
    event_filter = event_filter_of(request)
    wish = page_wish_of(request, limit=event_filter.limit)

    page = accepted(await filled_page(services, viewer.user_id, wish, event_filter))

    def read(connection: Reader) -> dict[str, Any]:
        answer: dict[str, Any] = {
            "start": page_token(page.start),
            "chunk": present_seen(rooms, connection, viewer, page.events),
        }
        if page.end is not None:
            answer["end"] = page_token(page.end)
        if event_filter.lazy_load_members:
            answer["state"] = senders_members(rooms, connection, viewer, page.events)
        return answer

    return services.database.read(read)


ENDPOINTS = (Endpoint("GET", client_path("rooms/{roomId}/messages"), messages),)
