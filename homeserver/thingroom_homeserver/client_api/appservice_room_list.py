"""PUT /directory/list/appservice/{networkId}/{roomId}: an application service's directory of one of its networks.

Source: application service API, "Published room directories". public_rooms.py shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.appservices import network_instance_id
from thingroom_homeserver.client_api.checks import room_id_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.appservices import set_listed
from thingroom_homeserver.storage.rooms import room_row

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_NETWORK_ID_LENGTH = 255


async def put_listed(request: Request, services: Services) -> dict[str, Any]:
    appservice, room_id, network_id = request.requester.appservice, room_id_of(request), request.path["networkId"]
    assert appservice is not None, "the endpoint is for application services only"
    visibility = request.body_field("visibility", str)
    if visibility not in ("public", "private"):
        raise MatrixError(400, "M_INVALID_PARAM", "visibility must be public or private")
    if len(network_id) > MAX_NETWORK_ID_LENGTH:
        raise MatrixError(400, "M_INVALID_PARAM", f"A network id has at most {MAX_NETWORK_ID_LENGTH} characters")
    if services.database.read(lambda connection: room_row(connection, room_id)) is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such room")
    instance, listed = network_instance_id(appservice.id, network_id), visibility == "public"
    await services.database.write(lambda transaction: set_listed(transaction, instance, room_id, listed=listed))
    return {}


ENDPOINTS = (
    Endpoint(
        "PUT",
        client_path("directory/list/appservice/{networkId}/{roomId}"),
        put_listed,
        auth=Auth.APPSERVICE_ONLY,
    ),
)
