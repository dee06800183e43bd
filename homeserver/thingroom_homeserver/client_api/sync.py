"""GET /sync."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import session_of
from thingroom_homeserver.client_api.room_paging import filter_json
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.event_filter import FilterError
from thingroom_homeserver.rooms.tokens import SyncToken, parse_sync_token
from thingroom_homeserver.sync.long_poll import sync
from thingroom_homeserver.sync.request import STATE_AFTER, UNSTABLE_STATE_AFTER, SyncRequest
from thingroom_homeserver.sync.sync_filter import SyncFilter, parse_sync_filter

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_TIMEOUT_MS = 120_000
PRESENCES = ("offline", "online", "unavailable")


async def get_sync(request: Request, services: Services) -> dict[str, Any]:
    requester = request.requester
    presence = request.query.get("set_presence", "online")
    if presence not in PRESENCES:
        raise MatrixError(400, "M_INVALID_PARAM", "set_presence must be offline, online or unavailable")
    wish = SyncRequest(
        requester.user_id,
        requester.device_id,
        session_of(requester),
        _since(request, services),
        _filter(request, services),
        request.query_bool("full_state"),
        _state_after(request),
    )
    timeout_ms = request.query_int("timeout", 0, highest=MAX_TIMEOUT_MS) or 0
    async with services.presence.syncing(requester.user_id, requester.device_id, presence):
        return await sync(services.sync, wish, timeout_ms / 1000)


def _since(request: Request, services: Services) -> SyncToken | None:
    """Where the client goes on. From the beginning, if its token is of a time that this server has forgotten."""
    text = request.query.get("since")
    if not text:
        return None
    token = parse_sync_token(text)
    if token is None:
        raise MatrixError(400, "M_INVALID_PARAM", "since is not a token of this server")
    if token.position > services.notifier.position:
        return None  # an older copy of the database was put in place
    return token


def _state_after(request: Request) -> str | None:
    """Clients that are in use still ask by the name of the proposal (MSC4222), and look for it in the answer."""
    if request.query_bool("use_state_after"):
        return STATE_AFTER
    return UNSTABLE_STATE_AFTER if request.query_bool("org.matrix.msc4222.use_state_after") else None


def _filter(request: Request, services: Services) -> SyncFilter:
    text = request.query.get("filter")
    if not text:
        return SyncFilter()
    try:
        if text.startswith("{"):
            return _inline_filter(text)
        stored = services.filters.read(request.requester.user_id, text)
        if stored is None:
            raise MatrixError(400, "M_INVALID_PARAM", "There is no such filter")
        return parse_sync_filter(stored)
    except FilterError as error:
        raise MatrixError(400, "M_INVALID_PARAM", f"filter: {error}") from None


@lru_cache(maxsize=256)
def _inline_filter(text: str) -> SyncFilter:
    return parse_sync_filter(filter_json(text))


ENDPOINTS = (Endpoint("GET", client_path("sync"), get_sync, waits=True),)
