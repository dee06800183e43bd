"""/.well-known/matrix/: where clients and other homeservers reach the server, and whom to ask for help.

Each is 404 unless it is configured. Source: client-server API, "Server Discovery" and "Getting support information";
server-server API, "Server discovery".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.errors import MatrixError

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_client_well_known(request: Request, services: Services) -> dict[str, Any]:
    if not services.config.public_base_url:
        raise MatrixError(404, "M_NOT_FOUND", "No public address is configured")
    answer = {"m.homeserver": {"base_url": services.config.public_base_url}}
    if services.config.advertised_identity_server:
        answer["m.identity_server"] = {"base_url": services.config.advertised_identity_server}
    return answer


async def get_server_well_known(request: Request, services: Services) -> dict[str, Any]:
    if not services.config.federation_address:
        raise MatrixError(404, "M_NOT_FOUND", "This server is not reached by other homeservers")
    return {"m.server": services.config.federation_address}


async def get_support(request: Request, services: Services) -> dict[str, Any]:
    support = services.config.support
    answer: dict[str, Any] = {}
    contact = {"matrix_id": support.matrix_id, "email_address": support.email}
    contact = {key: value for key, value in contact.items() if value}
    if contact:
        answer["contacts"] = [{"role": "m.role.admin", **contact}]
    if support.page:
        answer["support_page"] = support.page
    if not answer:
        raise MatrixError(404, "M_NOT_FOUND", "No support contact is configured")
    return answer


async def get_policy_server(request: Request, services: Services) -> dict[str, Any]:
    if not services.config.policy_server_key:
        raise MatrixError(404, "M_NOT_FOUND", "There is no policy server of this name")
    return {"public_keys": {"ed25519": services.config.policy_server_key}}


ENDPOINTS = (
    Endpoint("GET", ("/.well-known/matrix/client",), get_client_well_known, auth=Auth.NONE),
    Endpoint("GET", ("/.well-known/matrix/support",), get_support, auth=Auth.NONE),
    Endpoint("GET", ("/.well-known/matrix/policy_server",), get_policy_server, auth=Auth.NONE),
)

FOR_SERVERS = (Endpoint("GET", ("/.well-known/matrix/server",), get_server_well_known, auth=Auth.NONE),)
"""What other homeservers ask before they know where to."""
