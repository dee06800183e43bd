"""GET /rooms/{roomId}/state, GET and PUT /rooms/{roomId}/state/{eventType}/{stateKey}."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.leaving import remove_guests
from thingroom_homeserver.client_api.room_errors import accepted, sender_of, viewer_of
from thingroom_homeserver.core.identifiers import is_valid_room_alias
from thingroom_homeserver.federation.remote_aliases import Directions
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path, json_response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.membership import MEMBER, Change
from thingroom_homeserver.rooms.present import present_event, present_state
from thingroom_homeserver.rooms.read_state import entry_for, state_for
from thingroom_homeserver.rooms.send_event import CANONICAL_ALIAS as ALIAS
from thingroom_homeserver.rooms.send_event import aliases_in, send_state
from thingroom_homeserver.storage.current_state import current_entry

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

MAX_ALIASES_ASKED = 10
_ONE = (
    *client_path("rooms/{roomId}/state/{eventType}"),
    *client_path("rooms/{roomId}/state/{eventType}/{stateKey}"),
)


async def get_all(request: Request, services: Services) -> Response:
    rooms, viewer = services.rooms, viewer_of(request.requester, services)

    def read(connection: Reader) -> list[dict[str, Any]]:
        state = accepted(state_for(rooms, connection, viewer.user_id, request.path["roomId"]))
        return present_state(rooms, connection, viewer, state.values(), with_room_id=True)

    return json_response(services.database.read(read))


async def get_one(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, path = services.rooms, viewer_of(request.requester, services), request.path
    whole_event = request.query.get("format", "content") == "event"

    def read(connection: Reader) -> dict[str, Any]:
        state_key = path.get("stateKey", "")
        event_id = accepted(entry_for(rooms, connection, viewer.user_id, path["roomId"], path["eventType"], state_key))
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        if stored is None:
            raise MatrixError(404, "M_NOT_FOUND", "The room has no such state")
        if whole_event:
            return present_event(rooms, connection, viewer, stored, with_room_id=True)
        return stored.event.content

    return services.database.read(read)


async def put_one(request: Request, services: Services) -> dict[str, Any]:
    path, body, sender = request.path, request.body, sender_of(request.requester)
    state_key = path.get("stateKey", "")
    if path["eventType"] == MEMBER:
        sent = await services.federation.memberships.change(sender, path["roomId"], _change(state_key, request))
    else:
        elsewhere = await _aliases_elsewhere(services, path["roomId"], body) if path["eventType"] == ALIAS else {}
        sent = await send_state(
            services.rooms, sender, path["roomId"], path["eventType"], state_key, body, aliases_elsewhere=elsewhere
        )
    event_id = accepted(sent).event_id
    if path["eventType"] == "m.room.guest_access":
        await remove_guests(path["roomId"], services)
    return {"event_id": event_id}


async def _aliases_elsewhere(services: Services, room_id: str, content: dict[str, Any]) -> dict[str, str]:
    """The rooms of those aliases of other servers which the room's m.room.canonical_alias does not name yet."""
    rooms, aliases = services.rooms, services.federation.memberships.aliases

    def read(connection: Reader) -> set[str]:
        event_id = current_entry(connection, room_id, ALIAS, "")
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        return aliases_in({} if stored is None else stored.event.content) or set()

    unknown = (aliases_in(content) or set()) - services.database.read(read)
    others = [each for each in sorted(unknown) if is_valid_room_alias(each) and not rooms.is_local(each)]
    found = await asyncio.gather(*(aliases.resolve(each) for each in others[:MAX_ALIASES_ASKED]))
    return {alias: there.room_id for alias, there in zip(others, found, strict=False) if isinstance(there, Directions)}


def _change(user_id: str, request: Request) -> Change:
    membership = request.body_field("membership", str)
    reason = request.body_field("reason", str, None)
    extra = {name: value for name, value in request.body.items() if name not in ("membership", "reason")}
    return Change(user_id, membership, reason, extra=extra)


ENDPOINTS = (
    Endpoint("GET", client_path("rooms/{roomId}/state"), get_all),
    Endpoint("GET", _ONE, get_one),
    Endpoint("PUT", _ONE, put_one, limit="send", ts=True),
)
