"""PUT send_join, versions 2 and 1: another server's user comes in, and their server is told the state of the room.

`omit_members` is not heeded, as is allowed: the state is always told whole. Source: Server-Server API, "Joining Rooms".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import stored_pdus
from thingroom_homeserver.federation_api.submitted_members import take_submitted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, json_response
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.state_at import auth_chain_of, state_ids_before
from thingroom_homeserver.storage.room_servers import servers_in_room

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader


async def send_join(request: Request, services: Services) -> dict[str, Any]:
    joined = await take_submitted(request, services, "join")
    rooms, event = services.rooms, joined.event

    def read(connection: Reader) -> tuple[list[str], set[str], list[str]]:
        state = state_ids_before(rooms, connection, event.event_id)
        if state is None:
            raise MatrixError(500, "M_UNKNOWN", "The state before the join is not known here")
        ids = list(state.values())
        chain = auth_chain_of(rooms, connection, [*ids, event.event_id])
        return ids, chain, servers_in_room(connection, event.room_id)

    state, auth_chain, servers = services.database.read(read)
    return {
        "event": event.pdu,
        "state": await stored_pdus(services, state),
        "auth_chain": await stored_pdus(services, auth_chain),
        "members_omitted": False,
        "servers_in_room": servers,
        "origin": rooms.server_name,
    }


async def send_join_v1(request: Request, services: Services) -> Response:
    return json_response([200, await send_join(request, services)])


ENDPOINTS = (
    Endpoint(
        "PUT",
        ("/_matrix/federation/v2/send_join/{roomId}/{eventId}",),
        send_join,
        auth=Auth.SERVER,
        limit="server_join",
    ),
    Endpoint(
        "PUT",
        ("/_matrix/federation/v1/send_join/{roomId}/{eventId}",),
        send_join_v1,
        auth=Auth.SERVER,
        limit="server_join",
    ),
)
