"""GET and POST /publicRooms, GET /room_summary/{roomIdOrAlias}."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, room_id_of
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.room_summary import DirectorySearch, published_rooms, summary_for

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_LIMIT = 500


async def list_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit = request.query_int("limit", MAX_LIMIT, lowest=1, highest=MAX_LIMIT)
    return await _list(request, services, limit, request.query.get("since"), DirectorySearch())


async def search_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit = MAX_LIMIT
    since, search = None, DirectorySearch()
    if request.optional_body:
        limit = request.body_field("limit", int, MAX_LIMIT)
        since = request.body_field("since", str, None)
        search = replace(
            _search(request.body_field("filter", dict, {})),
            instance_id=request.body_field("third_party_instance_id", str, None),
            all_networks=request.body_field("include_all_networks", bool, False),
        )
        if search.all_networks and search.instance_id is not None:
            raise MatrixError(400, "M_INVALID_PARAM", "Ask for one network or for all of them")
    if limit < 1:
        raise MatrixError(400, "M_INVALID_PARAM", "limit must be at least 1")
    return await _list(request, services, min(limit, MAX_LIMIT), since, search)


async def _list(
    request: Request, services: Services, limit: int | None, since: str | None, search: DirectorySearch
) -> dict[str, Any]:
    server = request.query.get("server")
    if server is not None and server != services.rooms.server_name:
        raise MatrixError(502, "M_UNKNOWN", "This server cannot reach other servers")
    start = _offset(since)
    found = await published_rooms(services.rooms, search)
    stop = start + (limit or MAX_LIMIT)
    answer: dict[str, Any] = {"chunk": found[start:stop], "total_room_count_estimate": len(found)}
    if stop < len(found):
        answer["next_batch"] = f"o{stop}"
    if start > 0:
        answer["prev_batch"] = f"o{max(0, start - (limit or MAX_LIMIT))}"
    return answer


async def room_summary(request: Request, services: Services) -> dict[str, Any]:
    room_id = await room_id_of(services, request.path["roomIdOrAlias"])
    rooms, user_id = services.rooms, request.requester.user_id
    return accepted(services.database.read(lambda c: summary_for(rooms, c, room_id, user_id)))


def _search(value: dict[str, Any]) -> DirectorySearch:
    term, types = value.get("generic_search_term"), value.get("room_types")
    if term is not None and not isinstance(term, str):
        raise MatrixError(400, "M_BAD_JSON", "generic_search_term must be a string")
    if types is None:
        return DirectorySearch(term or None)
    if not isinstance(types, list) or not all(kind is None or isinstance(kind, str) for kind in types):
        raise MatrixError(400, "M_BAD_JSON", "room_types must be a list of strings and nulls")
    return DirectorySearch(term or None, tuple(types))


def _offset(since: str | None) -> int:
    if since is None:
        return 0
    digits = since.removeprefix("o")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        raise MatrixError(400, "M_INVALID_PARAM", "since is not a token of this server")
    return int(digits)


ENDPOINTS = (
    Endpoint("GET", client_path("publicRooms"), list_rooms, auth=Auth.NONE),
    Endpoint("POST", client_path("publicRooms"), search_rooms),
    Endpoint(
        "GET",
        (
            *client_path("room_summary/{roomIdOrAlias}", versions=("v1",)),
            *client_path("summary/{roomIdOrAlias}", versions=("unstable/im.nheko.summary",)),
            *client_path("rooms/{roomIdOrAlias}/summary", versions=("unstable/im.nheko.summary",)),
        ),
        room_summary,
    ),
)
