"""POST /account/password and /account/deactivate, behind the current password, single sign-on or a verified address.

Source: client-server API, "Account management" (legacy API).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.accounts import why_unfit
from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.identity import trusted_server
from thingroom_homeserver.client_api.leaving import leave_everywhere
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.http.interactive_auth import EMAIL, PASSWORD, Proof

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def change_password(request: Request, services: Services) -> dict[str, Any] | Response:
    """With a token: one's own, by the old password. With or without: by an address that was verified for it."""
    requester = request.requester_or_none
    if requester is not None and requester.appservice is not None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service's users have no password")
    flows: list[tuple[str, ...]] = []
    if requester is not None:
        flows += services.interactive_auth.own_flows(requester.user_id)
    if services.addresses.enabled:
        flows.append((EMAIL,))
    if not flows:
        raise MatrixError(401, "M_MISSING_TOKEN", "Missing access token")
    proof = await services.interactive_auth.authenticate(request, flows, requester.user_id if requester else "")
    if not isinstance(proof, Proof):
        return proof
    user_id = requester.user_id if requester is not None else ""
    address = proof.completed.get(EMAIL)
    if address is not None:
        owner = services.addresses.user_with("email", address.address)
        if owner is None or (requester is not None and owner != user_id):
            raise MatrixError(403, "M_FORBIDDEN", "The address is not this account's")
        user_id = owner
    password = request.body_field("new_password", str)
    refused = why_unfit(password)
    if refused is not None:
        raise error_for(refused)
    if address is not None and not await services.addresses.use_up(address):
        raise MatrixError(403, "M_FORBIDDEN", "The verification has been used already")
    granted(await services.accounts.set_password(user_id, password))
    if request.body_field("logout_devices", bool, True):
        keep = requester.device_id if requester is not None else None
        await services.accounts.delete_all_devices(user_id, keep=keep)
    return {}


async def deactivate(request: Request, services: Services) -> dict[str, Any] | Response:
    requester = request.requester
    if requester.appservice is None:
        challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
        if challenge is not None:
            return challenge
    body = bool(request.optional_body)
    erase = request.body_field("erase", bool, False) if body else False
    id_server = request.body_field("id_server", str, None) if body else None
    if id_server is not None:
        trusted_server(services, id_server)
    unbound = await services.bindings.unbind_all(requester.user_id, id_server)
    await services.accounts.deactivate(requester.user_id, erase=erase)
    await leave_everywhere(requester.user_id, services)
    return {"id_server_unbind_result": "success" if unbound else "no-support"}


ENDPOINTS = (
    Endpoint("POST", client_path("account/password"), change_password, auth=Auth.OPTIONAL, limit="login"),
    Endpoint("POST", client_path("account/deactivate"), deactivate),
)
