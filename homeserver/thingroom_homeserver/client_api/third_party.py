"""GET /thirdparty/*: the networks behind application services, and looking for users and rooms in them.

Source: client-server API, "Third-party Networks". Next: appservice_api/third_party.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path, json_response
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

# What is said to us, not asked of the network.
_OURS = frozenset({"access_token", "user_id", "device_id", "org.matrix.msc3202.device_id", "ts"})


async def get_protocols(request: Request, services: Services) -> dict[str, Any]:
    return await services.third_party.protocols()


async def get_protocol(request: Request, services: Services) -> dict[str, Any]:
    protocol = await services.third_party.protocol(request.path["protocol"])
    if protocol is None:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such protocol")
    return protocol


async def get_locations(request: Request, services: Services) -> Response:
    return _found(await services.third_party.locations(request.path["protocol"], _fields(request)))


async def get_users(request: Request, services: Services) -> Response:
    return _found(await services.third_party.users(request.path["protocol"], _fields(request)))


async def get_locations_of_alias(request: Request, services: Services) -> Response:
    return _found(await services.third_party.locations(None, [("alias", _wanted(request, "alias"))]))


async def get_third_party_users_of(request: Request, services: Services) -> Response:
    return _found(await services.third_party.users(None, [("userid", _wanted(request, "userid"))]))


def _fields(request: Request) -> list[tuple[str, str]]:
    return [(name, value) for name, value in request.query.items() if name not in _OURS]


def _wanted(request: Request, name: str) -> str:
    value = request.query.get(name)
    if value is None:
        raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
    return value


def _found(results: list[dict[str, Any]]) -> Response:
    if not results:
        raise MatrixError(404, "M_NOT_FOUND", "Nothing was found")
    return json_response(results)


ENDPOINTS = (
    Endpoint("GET", client_path("thirdparty/protocols"), get_protocols, limit="third_party"),
    Endpoint("GET", client_path("thirdparty/protocol/{protocol}"), get_protocol, limit="third_party"),
    Endpoint("GET", client_path("thirdparty/location/{protocol}"), get_locations, limit="third_party"),
    Endpoint("GET", client_path("thirdparty/user/{protocol}"), get_users, limit="third_party"),
    Endpoint("GET", client_path("thirdparty/location"), get_locations_of_alias, limit="third_party"),
    Endpoint("GET", client_path("thirdparty/user"), get_third_party_users_of, limit="third_party"),
)
