"""/account/3pid: the addresses of an account, and what identity servers are told of them.

Source: client-server API, "Adding Account Administrative Contact Information".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.addresses import ADD
from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.identity import identity_error, text_field, trusted_server
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.interactive_auth import PASSWORD
from thingroom_homeserver.outgoing.identity_server import IdentityRefused

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_all(request: Request, services: Services) -> dict[str, Any]:
    rows = services.addresses.of_user(request.requester.user_id)
    return {
        "threepids": [
            {
                "medium": row["medium"],
                "address": row["address"],
                "validated_at": row["validated_ts"],
                "added_at": row["added_ts"],
            }
            for row in rows
        ]
    }


async def add(request: Request, services: Services) -> dict[str, Any] | Response:
    """An address that was verified, behind the password: whoever has the address can reset the password."""
    requester = request.requester
    if requester.appservice is not None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service's users have no addresses")
    credentials = request.body_field("three_pid_creds", dict, None) or request.body
    sid, client_secret = credentials.get("sid"), credentials.get("client_secret")
    if not (isinstance(sid, str) and isinstance(client_secret, str)):
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: sid, client_secret")
    challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
    if challenge is not None:
        return challenge
    verified = services.addresses.verified(sid, client_secret, ADD)
    if verified is None:
        raise MatrixError(400, "M_THREEPID_AUTH_FAILED", "The address has not been verified")
    granted(await services.addresses.add(requester.user_id, verified))
    return {}


async def delete(request: Request, services: Services) -> dict[str, Any]:
    """The address is no longer the account's, whatever the identity server says to being told so."""
    medium, address = request.body_field("medium", str), request.body_field("address", str)
    id_server = _named_server(request, services)
    await services.addresses.remove(request.requester.user_id, medium, address)
    unbound = await services.bindings.unbind(request.requester.user_id, medium, address, id_server)
    return _unbind_result(unbound is True)


async def bind(request: Request, services: Services) -> dict[str, Any]:
    """Let an identity server tell people that an address, verified there, is the account's."""
    if request.requester.appservice is not None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service's users have no addresses")
    names = ("id_server", "id_access_token", "sid", "client_secret")
    server, token, sid, secret = (text_field(request.body, name) for name in names)
    trusted_server(services, server)
    refused = await services.bindings.bind(request.requester.user_id, server, token, sid, secret)
    if refused is not None:
        raise identity_error(refused)
    return {}


async def unbind(request: Request, services: Services) -> dict[str, Any]:
    medium, address = request.body_field("medium", str), request.body_field("address", str)
    id_server = _named_server(request, services)
    outcome = await services.bindings.unbind(request.requester.user_id, medium, address, id_server)
    if isinstance(outcome, IdentityRefused):
        raise identity_error(outcome)
    return _unbind_result(outcome)


def _named_server(request: Request, services: Services) -> str | None:
    server = request.body_field("id_server", str, None)
    return None if server is None else trusted_server(services, server)


def _unbind_result(done: bool) -> dict[str, Any]:
    return {"id_server_unbind_result": "success" if done else "no-support"}


async def refuse_phone(request: Request, services: Services) -> dict[str, Any]:
    raise MatrixError(400, "M_THREEPID_MEDIUM_NOT_SUPPORTED", "This server knows no phone numbers")


_PHONE = (
    *client_path("register/msisdn/requestToken"),
    *client_path("account/password/msisdn/requestToken"),
    *client_path("account/3pid/msisdn/requestToken"),
)

ENDPOINTS = (
    Endpoint("GET", client_path("account/3pid"), get_all),
    Endpoint("POST", client_path("account/3pid"), add),
    Endpoint("POST", client_path("account/3pid/add"), add),
    Endpoint("POST", client_path("account/3pid/delete"), delete),
    Endpoint("POST", client_path("account/3pid/bind"), bind, limit="identity"),
    Endpoint("POST", client_path("account/3pid/unbind"), unbind, limit="identity"),
    Endpoint("POST", _PHONE, refuse_phone, auth=Auth.NONE, limit="mail"),
)
