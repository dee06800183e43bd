"""GET /_matrix/federation/v1/state/{roomId} and state_ids/{roomId}: the state before an event, with its auth chain."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.federation_api.reading import event_for_reader, room_for_reader, state_event_of, stored_pdus
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.state_at import auth_chain_of, state_ids_before

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader


async def get_state(request: Request, services: Services) -> dict[str, Any]:
    state, auth_chain = _ids(request, services)
    return {"pdus": await stored_pdus(services, state), "auth_chain": await stored_pdus(services, auth_chain)}


async def get_state_ids(request: Request, services: Services) -> dict[str, Any]:
    state, auth_chain = _ids(request, services)
    return {"pdu_ids": state, "auth_chain_ids": auth_chain}


def _ids(request: Request, services: Services) -> tuple[list[str], list[str]]:
    rooms, room_id = services.rooms, room_for_reader(request, services)
    event_id = event_for_reader(request, services, state_event_of(request), room_id).event_id

    def read(connection: Reader) -> tuple[list[str], list[str]]:
        state = state_ids_before(rooms, connection, event_id)
        if state is None:
            raise MatrixError(404, "M_NOT_FOUND", "The state at this event is not known here")
        ids = list(state.values())
        return ids, list(auth_chain_of(rooms, connection, ids))

    return services.database.read(read)


ENDPOINTS = (
    Endpoint("GET", ("/_matrix/federation/v1/state/{roomId}",), get_state, auth=Auth.SERVER, limit="server_state"),
    Endpoint(
        "GET", ("/_matrix/federation/v1/state_ids/{roomId}",), get_state_ids, auth=Auth.SERVER, limit="server_state"
    ),
)
