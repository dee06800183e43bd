"""GET and POST /publicRooms, GET /room_summary/{roomIdOrAlias}: of this server, or asked of others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, directions_to
from thingroom_homeserver.core.identifiers import is_valid_room_id, is_valid_server_name
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.rooms.directory_page import MAX_LIMIT, directory_page, search_of
from thingroom_homeserver.rooms.residence import knows_best
from thingroom_homeserver.rooms.room_summary import DirectorySearch, may_find, summary_for
from thingroom_homeserver.storage.memberships import membership_of
from thingroom_homeserver.storage.out_of_band import out_of_band_of
from thingroom_homeserver.storage.rooms import is_known

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_VIA = 5
_LIST_KEYS = ("limit", "since")


async def list_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit = request.query_int("limit", MAX_LIMIT, lowest=1, highest=MAX_LIMIT) or MAX_LIMIT
    server = _other_server(request, services)
    if server is not None:
        query = {name: request.query[name] for name in _LIST_KEYS if name in request.query}
        return accepted(await services.federation.directory.list_rooms(server, query, None))
    return accepted(await directory_page(services.rooms, DirectorySearch(), limit, request.query.get("since")))


async def search_rooms(request: Request, services: Services) -> dict[str, Any]:
    limit, since, search = MAX_LIMIT, None, DirectorySearch()
    if request.optional_body:
        limit = request.body_field("limit", int, MAX_LIMIT)
        since = request.body_field("since", str, None)
        search = replace(
            accepted(search_of(request.body_field("filter", dict, {}))),
            instance_id=request.body_field("third_party_instance_id", str, None),
            all_networks=request.body_field("include_all_networks", bool, False),
        )
        if search.all_networks and search.instance_id is not None:
            raise MatrixError(400, "M_INVALID_PARAM", "Ask for one network or for all of them")
    if limit < 1:
        raise MatrixError(400, "M_INVALID_PARAM", "limit must be at least 1")
    server = _other_server(request, services)
    if server is not None:
        asked: dict[str, Any] = {"limit": min(limit, MAX_LIMIT), "filter": _as_filter(search)}
        more = {"since": since, "third_party_instance_id": search.instance_id}
        asked |= {name: value for name, value in more.items() if value is not None}
        if search.all_networks:
            asked["include_all_networks"] = True
        return accepted(await services.federation.directory.list_rooms(server, {}, asked))
    return accepted(await directory_page(services.rooms, search, limit, since))


def _as_filter(search: DirectorySearch) -> dict[str, Any]:
    """A checked filter in the form of a request."""
    found: dict[str, Any] = {} if search.term is None else {"generic_search_term": search.term}
    return found if search.room_types is None else found | {"room_types": list(search.room_types)}


def _other_server(request: Request, services: Services) -> str | None:
    """`?server=`, if that is another one. Raises MatrixError: M_INVALID_PARAM, M_LIMIT_EXCEEDED."""
    server = request.query.get("server")
    if server is None or server == services.rooms.server_name:
        return None
    if not is_valid_server_name(server):
        raise MatrixError(400, "M_INVALID_PARAM", "server is not a server name")
    _limit(request, services)
    return server


def _limit(request: Request, services: Services) -> None:
    """Those who make this server ask others may do so only so often. Raises MatrixError M_LIMIT_EXCEEDED."""
    requester = request.requester_or_none
    if wait := services.rate_limiter.take("elsewhere", requester.user_id if requester else request.address):
        raise limit_exceeded(wait)


async def room_summary(request: Request, services: Services) -> dict[str, Any]:
    named = await directions_to(services, request.path["roomIdOrAlias"])
    room_id, rooms, user_id = named.room_id, services.rooms, request.requester.user_id
    if services.database.read(lambda c: is_known(c, room_id) and knows_best(c, room_id)):
        return accepted(services.database.read(lambda c: summary_for(rooms, c, room_id, user_id)))
    via = [*request.query.getall("via", ()), *named.servers]
    invited = services.database.read(lambda c: out_of_band_of(c, room_id, user_id))
    if invited is not None:
        via += invited.servers
    servers = [server for server in dict.fromkeys(via) if is_valid_server_name(server)][:MAX_VIA]
    if servers and is_valid_room_id(room_id):
        _limit(request, services)
        told = await services.federation.spaces.look(room_id, servers)
        if told is not None and services.database.read(lambda c: may_find(rooms, c, user_id, told.room)):
            summary = {name: value for name, value in told.room.items() if name != "children_state"}
            member = services.database.read(lambda c: membership_of(c, room_id, user_id))
            return summary if member is None else summary | {"membership": member.membership}
    return accepted(services.database.read(lambda c: summary_for(rooms, c, room_id, user_id)))


ENDPOINTS = (
    Endpoint("GET", client_path("publicRooms"), list_rooms, auth=Auth.OPTIONAL),
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
