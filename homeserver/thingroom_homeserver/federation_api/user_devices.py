"""GET /_matrix/federation/v1/user/devices/{userId}: the devices of a local user, with the number of the last change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_common.database import Transaction
from thingroom_homeserver.federation.sender.edus import device_update, signing_keys_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.storage.device_keys import device_keys_of
from thingroom_homeserver.storage.device_list_outbox import device_list_stream, note_told

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_user_devices(request: Request, services: Services) -> dict[str, Any]:
    user_id, origin = request.path["userId"], request.origin
    if not (services.accounts.is_local(user_id) and services.accounts.exists(user_id)):
        raise MatrixError(404, "M_NOT_FOUND", "There is no such user here")

    def write(transaction: Transaction) -> dict[str, Any]:
        stream_id = device_list_stream(transaction, user_id) or 0
        note_told(transaction, origin, user_id, stream_id)  # what the next update for that server refers to
        devices = []
        for row in device_keys_of(transaction, user_id):
            device = device_update(transaction, user_id, row["device_id"])
            device.pop("user_id")
            devices.append(device)
        keys = signing_keys_of(transaction, user_id)
        return {**keys, "user_id": user_id, "stream_id": stream_id, "devices": devices}

    return await services.database.write(write)


ENDPOINTS = (
    Endpoint(
        "GET",
        ("/_matrix/federation/v1/user/devices/{userId}",),
        get_user_devices,
        auth=Auth.SERVER,
        limit="server_query",
    ),
)
