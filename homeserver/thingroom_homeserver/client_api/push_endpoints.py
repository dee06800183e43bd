"""GET /pushers, POST /pushers/set and GET /notifications.

Source: Client-Server API, "Push Notifications".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.room_errors import viewer_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.push.letters import APP_ID, EMAIL
from thingroom_homeserver.push.listing import newest_position, page
from thingroom_homeserver.push.pushers import why_unfit_key, why_unfit_url
from thingroom_homeserver.rooms.present import present_event
from thingroom_homeserver.storage.notifications import event_id_at

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

JsonObject = dict[str, Any]

DEFAULT_LIMIT = 20
MAX_LIMIT = 100
HTTP = "http"


async def get_pushers(request: Request, services: Services) -> JsonObject:
    return {"pushers": services.push.pushers.list_of(request.requester.user_id)}


async def set_pusher(request: Request, services: Services) -> JsonObject:
    requester = request.requester
    app_id, pushkey = request.body_field("app_id", str), request.body_field("pushkey", str)
    refused = why_unfit_key(app_id, pushkey)
    granted(refused)
    if "kind" not in request.body:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: kind")
    if request.body["kind"] is None:
        await services.push.pushers.delete(requester.user_id, app_id, pushkey)
        return {}
    kind = request.body["kind"]
    if kind not in (HTTP, EMAIL):
        raise MatrixError(400, "M_INVALID_PARAM", 'kind must be "http", "email" or null')
    fields = {name: request.body_field(name, str) for name in ("app_display_name", "device_display_name", "lang")}
    data = request.body_field("data", dict)
    device_id = requester.device_id or ""
    if kind == EMAIL:
        device_id, pushkey = "", _own_address(services, requester.user_id, app_id, pushkey)
    elif not isinstance(data.get("url"), str):
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: data.url")
    else:
        granted(why_unfit_url(data["url"]))
    tag = request.body_field("profile_tag", str, None)
    refused = await services.push.pushers.set(
        requester.user_id,
        device_id,
        app_id,
        pushkey,
        {"kind": kind, **fields, "data": data, **({} if tag is None else {"profile_tag": tag})},
        append=request.body_field("append", bool, False),
    )
    granted(refused)
    return {}


def _own_address(services: Services, user_id: str, app_id: str, address: str) -> str:
    """The address of an email pusher, which is the account's and outlives the session that set it."""
    if app_id != APP_ID:
        raise MatrixError(400, "M_INVALID_PARAM", f'The app_id of an email pusher is "{APP_ID}"')
    if not services.addresses.enabled:
        raise MatrixError(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server sends no mail")
    own = {row["address"] for row in services.addresses.of_user(user_id) if row["medium"] == EMAIL}
    if address.lower() not in own:
        raise MatrixError(400, "M_THREEPID_NOT_FOUND", "This is not an email address of your account")
    return address.lower()


async def get_notifications(request: Request, services: Services) -> JsonObject:
    limit = request.query_int("limit", DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT) or DEFAULT_LIMIT
    below = request.query_int("from", newest_position(), highest=newest_position())
    below = min(below or 0, services.notifier.position + 1)
    only_highlights = request.query.get("only") == "highlight"
    rooms, viewer = services.rooms, viewer_of(request.requester, services)

    def read(connection: Reader) -> JsonObject:
        joined = rooms.occupancy.joined_rooms(viewer.user_id)
        found = page(connection, viewer.user_id, joined, below, limit, only_highlights=only_highlights)
        notifications = []
        for notification, is_read in found:
            event_id = event_id_at(connection, notification.position)
            stored = None if event_id is None else rooms.events.get(connection, event_id)
            if stored is not None:
                notifications.append(
                    {
                        "actions": orjson.loads(notification.actions),
                        "event": present_event(rooms, connection, viewer, stored),
                        "read": is_read,
                        "room_id": notification.room_id,
                        "ts": notification.ts,
                    }
                )
        answer: JsonObject = {"notifications": notifications}
        if len(found) == limit:
            answer["next_token"] = str(found[-1][0].position)
        return answer

    return services.database.read(read)


ENDPOINTS = (
    Endpoint("GET", client_path("pushers"), get_pushers),
    Endpoint("POST", client_path("pushers/set"), set_pusher),
    Endpoint("GET", client_path("notifications"), get_notifications),
)
