"""POST /v4/sync and /unstable/org.matrix.simplified_msc3575/sync: simplified sliding sync.

Both paths understand both forms of a request; the answers differ in the names of some fields.
Source: MSC4186, "API", "Unstable prefix" and the differences listed in its appendix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import session_of
from thingroom_homeserver.http.endpoint import Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.sliding.answer import Asker
from thingroom_homeserver.sliding.long_poll import sliding_sync
from thingroom_homeserver.sliding.request import parse_wish
from thingroom_homeserver.sliding.required_state import RequestError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_TIMEOUT_MS = 120_000
PRESENCES = ("offline", "online", "unavailable")
UNSTABLE_NAMES = {"stripped_state": "invite_state", "expanded_timeline": "unstable_expanded_timeline"}
UNSTABLE_FEATURE = "org.matrix.simplified_msc3575"


async def post_merged(request: Request, services: Services) -> dict[str, Any]:
    answer = await _answer(request, services)
    for room in answer["rooms"].values():
        room.pop("notification_count", None)
        room.pop("highlight_count", None)
    answer["rooms"] = {room_id: room for room_id, room in answer["rooms"].items() if room.keys() - {"lists"}}
    return answer


async def post_unstable(request: Request, services: Services) -> dict[str, Any]:
    answer = await _answer(request, services)
    for room in answer["rooms"].values():
        for name, older in UNSTABLE_NAMES.items():
            if name in room:
                room[older] = room.pop(name)
        if "required_state" in room:
            room["required_state"] = [event for event in room["required_state"] if "content" in event]
    return answer


async def _answer(request: Request, services: Services) -> dict[str, Any]:
    requester, body = request.requester, request.optional_body
    pos = request.query.get("pos") or _text(body, "pos")
    presence = request.query.get("set_presence") or _text(body, "set_presence") or "online"
    if presence not in PRESENCES:
        raise MatrixError(400, "M_INVALID_PARAM", "set_presence must be offline, online or unavailable")
    timeout_ms = request.query_int("timeout", None, highest=MAX_TIMEOUT_MS)
    if timeout_ms is None:
        timeout_ms = body.get("timeout") or 0
        if type(timeout_ms) is not int or timeout_ms < 0:
            raise MatrixError(400, "M_INVALID_PARAM", "timeout must be a number of milliseconds")
        timeout_ms = min(timeout_ms, MAX_TIMEOUT_MS)
    try:
        wish = parse_wish(body, requester.user_id)
    except RequestError as error:
        raise MatrixError(400, "M_INVALID_PARAM", str(error)) from None
    asker = Asker(requester.user_id, requester.device_id, session_of(requester))
    async with services.presence.syncing(requester.user_id, requester.device_id, presence):
        answer = await sliding_sync(services.sliding, asker, pos, wish, timeout_ms / 1000)
    if answer is None:
        raise MatrixError(400, "M_UNKNOWN_POS", "Unknown position: begin the connection anew, without pos")
    return answer


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if not isinstance(value, str | None):
        raise MatrixError(400, "M_INVALID_PARAM", f"{name} must be a string")
    return value or None


ENDPOINTS = (
    Endpoint("POST", ("/_matrix/client/v4/sync",), post_merged, waits=True),
    Endpoint("POST", (f"/_matrix/client/unstable/{UNSTABLE_FEATURE}/sync",), post_unstable, waits=True),
)
