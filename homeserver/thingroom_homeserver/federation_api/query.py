"""GET /_matrix/federation/v1/query/{queryType}: queries of kinds that this server does not know.

Those that it knows are in query_directory.py and query_profile.py. Source: Server-Server API, "Querying for
information".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def query_unknown(request: Request, services: Services) -> dict[str, Any]:
    raise MatrixError(404, "M_NOT_FOUND", "This server knows no such kind of query")


ENDPOINTS = (
    Endpoint(
        "GET", ("/_matrix/federation/v1/query/{queryType}",), query_unknown, auth=Auth.SERVER, limit="server_query"
    ),
)
