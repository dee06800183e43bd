"""GET /rooms/{roomId}/hierarchy. A page's token says how many rooms were told, with which parameters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted
from thingroom_homeserver.core.identifiers import is_domainless_room_id, is_valid_room_id, server_name_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.hierarchy import MAX_DEPTH, HierarchyWish, read_hierarchy
from thingroom_homeserver.storage.out_of_band import out_of_band_of

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_LIMIT = 50
_TOKEN = re.compile(r"h([0-9]{1,5})_([01])_([0-9]{1,3})", re.ASCII)


async def hierarchy(request: Request, services: Services) -> dict[str, Any]:
    limit = request.query_int("limit", MAX_LIMIT, lowest=1, highest=MAX_LIMIT) or MAX_LIMIT
    depth = request.query_int("max_depth", None, lowest=0, highest=MAX_DEPTH)
    max_depth = MAX_DEPTH if depth is None else depth
    suggested_only = request.query_bool("suggested_only")
    skip = _skip(request, suggested_only, max_depth)
    room_id, user_id = request.path["roomId"], request.requester.user_id
    via = _servers_of(services, room_id, user_id)
    wish = HierarchyWish(room_id, suggested_only, max_depth, limit, skip, via)
    found = accepted(await read_hierarchy(services.rooms, user_id, wish, services.federation.spaces))
    answer: dict[str, Any] = {"rooms": found.rooms}
    if found.more:
        answer["next_batch"] = f"h{skip + len(found.rooms)}_{int(suggested_only)}_{max_depth}"
    return answer


def _servers_of(services: Services, room_id: str, user_id: str) -> tuple[str, ...]:
    """Whom to ask about the root, where this server is not in it: who invited the user, and whom the id names."""
    if not is_valid_room_id(room_id):
        return ()
    invited = services.database.read(lambda connection: out_of_band_of(connection, room_id, user_id))
    own = () if is_domainless_room_id(room_id) else (server_name_of(room_id),)
    return (*(() if invited is None else invited.servers), *own)


def _skip(request: Request, suggested_only: bool, max_depth: int) -> int:
    text = request.query.get("from")
    if text is None:
        return 0
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise MatrixError(400, "M_INVALID_PARAM", "from is not a token of this server")
    if (int(match[2]), int(match[3])) != (int(suggested_only), max_depth):
        raise MatrixError(400, "M_INVALID_PARAM", "suggested_only and max_depth cannot change on paginated requests")
    return int(match[1])


PATHS = client_path("rooms/{roomId}/hierarchy", versions=("v1", "unstable/org.matrix.msc2946"))
ENDPOINTS = (Endpoint("GET", PATHS, hierarchy),)
