"""Which room an alias of another server points to, and which servers know that room.

May import core and this package. Source: Server-Server API, "Querying for information". The other direction is
federation_api/query_directory.py.
"""

from __future__ import annotations

from dataclasses import dataclass

from thingroom_homeserver.core.identifiers import is_valid_room_id, is_valid_server_name, server_name_of
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.rooms.outcomes import Refused, Why

MAX_SERVERS = 100


@dataclass(frozen=True, slots=True)
class Directions:
    """The room that an alias points to, and servers that know it, likely ones first."""

    room_id: str
    servers: tuple[str, ...]


class RemoteAliases:
    """The directories of other servers."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def resolve(self, alias: str) -> Directions | Refused:
        """Ask the alias' own server. `alias` is a valid one of another server."""
        server = server_name_of(alias)
        answer = await self._client.request(
            server, "GET", path("v1", "query", "directory"), query=(("room_alias", alias),), retry=True
        )
        if isinstance(answer, Failed):
            if answer.status == 404:
                return Refused(Why.NOT_FOUND, f"{server} knows no room with the alias {alias}")
            return Refused(Why.UNREACHABLE, f"{server} cannot be asked for the alias {alias}: {answer.text}")
        room_id, servers = answer.get("room_id"), answer.get("servers")
        if not isinstance(room_id, str) or not is_valid_room_id(room_id):
            return Refused(Why.UNREACHABLE, f"{server} answers with no room id for the alias {alias}")
        named = [name for name in servers[:MAX_SERVERS] if isinstance(name, str)] if isinstance(servers, list) else []
        likely = dict.fromkeys([*(name for name in named if is_valid_server_name(name)), server])
        return Directions(room_id, tuple(likely))
