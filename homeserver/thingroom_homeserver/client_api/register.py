"""POST /register, GET /register/available and whether a registration token is good.

Registration is off unless configured; application services make their ghosts here whatever the configuration says.
Source: client-server API, "Account registration"; application service API, "Server admin style permissions".
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from thingroom_common.database import Transaction
from thingroom_homeserver.accounts.accounts import why_unfit
from thingroom_homeserver.accounts.addresses import REGISTER
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.client_api.login import open_session, session_json
from thingroom_homeserver.http.authentication import refuse_to_log_in, required_appservice
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for, limit_exceeded
from thingroom_homeserver.http.interactive_auth import DUMMY, EMAIL, REGISTRATION_TOKEN, TERMS, Proof
from thingroom_homeserver.http.requester import Requester

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def register(request: Request, services: Services) -> dict[str, Any] | Response:
    kind = request.query.get("kind", "user")
    if kind == "guest":
        return await _register_guest(request, services)
    if kind != "user":
        raise MatrixError(400, "M_INVALID_PARAM", "kind must be user or guest")
    if request.body_field("type", str, None) == "m.login.application_service":
        return await _register_ghost(request, services)
    if services.config.registration != "open":
        raise MatrixError(403, "M_FORBIDDEN", "Registration is disabled")
    username = request.body_field("username", str, None)
    password = request.body_field("password", str, None)
    guest = _guest_to_upgrade(request, services, username)
    if username is not None and guest is None:
        refused = services.accounts.why_unavailable(username)
        if refused is not None:
            raise error_for(refused)
    if password is not None:
        refused = why_unfit(password)
        if refused is not None:
            raise error_for(refused)
    proof = await services.interactive_auth.authenticate(
        request, (_stages(services),), params=_terms(services), email_purpose=REGISTER
    )
    if not isinstance(proof, Proof):
        return proof
    if password is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: password")
    if guest is not None:
        return await _upgrade(request, services, guest, password)

    def within(transaction: Transaction, user_id: str) -> Refused | None:
        refused = None
        if EMAIL in proof.completed:
            refused = services.addresses.add_within(transaction, user_id, proof.completed[EMAIL])
        if refused is None and REGISTRATION_TOKEN in proof.completed:
            refused = services.registration_tokens.use_within(transaction, proof.completed[REGISTRATION_TOKEN])
        return refused

    return await _answer(request, services, await services.accounts.create_account(username, password, within=within))


def _stages(services: Services) -> tuple[str, ...]:
    """What is asked for, cheapest for the person first."""
    steps = services.config.registration_steps
    wanted = ((REGISTRATION_TOKEN, steps.token), (TERMS, bool(steps.terms)), (EMAIL, steps.email))
    return tuple(stage for stage, is_wanted in wanted if is_wanted) or (DUMMY,)


def _terms(services: Services) -> dict[str, Any]:
    policies = {
        policy.id: {"version": policy.version, policy.language: {"name": policy.name, "url": policy.url}}
        for policy in services.config.registration_steps.terms
    }
    return {TERMS: {"policies": policies}} if policies else {}


async def _register_guest(request: Request, services: Services) -> dict[str, Any]:
    if not services.config.guest_access:
        raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "There are no guest accounts here")
    wait = services.rate_limiter.take("guest", request.address)
    if wait:
        raise limit_exceeded(wait)
    localpart = f"guest-{secrets.token_hex(8)}"
    user_id = granted(await services.accounts.create_account(localpart, None, is_guest=True))
    name = request.body_field("initial_device_display_name", str, None) if request.optional_body else None
    return session_json(granted(await services.accounts.open_session(user_id, request.address, None, name)), services)


def _guest_to_upgrade(request: Request, services: Services, username: str | None) -> Requester | None:
    """The guest whose token is given, who becomes a lasting account under the same name."""
    token = request.body_field("guest_access_token", str, None)
    if token is None:
        return None
    guest = services.authentication.holder_of(token)
    if (
        guest is None
        or not guest.is_guest
        or username is None
        or services.accounts.user_id_of(username) != guest.user_id
    ):
        raise MatrixError(403, "M_FORBIDDEN", "The guest's token and name do not fit together")
    return guest


async def _upgrade(request: Request, services: Services, guest: Requester, password: str) -> dict[str, Any]:
    granted(await services.accounts.upgrade_guest(guest.user_id, password))
    if request.body_field("inhibit_login", bool, False):
        return {"user_id": guest.user_id, "home_server": services.config.server_name}
    session = await services.accounts.open_session(
        guest.user_id,
        request.address,
        request.body_field("device_id", str, None) or guest.device_id,
        request.body_field("initial_device_display_name", str, None),
        refreshable=request.body_field("refresh_token", bool, False),
    )
    return session_json(granted(session), services)


async def token_validity(request: Request, services: Services) -> dict[str, Any]:
    token = request.query.get("token")
    if token is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: token")
    if services.config.registration != "open":
        raise MatrixError(403, "M_FORBIDDEN", "Registration is not enabled on this homeserver.")
    return {"valid": services.registration_tokens.is_good(token)}


async def _register_ghost(request: Request, services: Services) -> dict[str, Any]:
    appservice = required_appservice(request)
    if not request.body_field("inhibit_login", bool, False):
        refuse_to_log_in(appservice)
    username = request.body_field("username", str)
    made = await services.accounts.create_account(username, None, appservice=appservice)
    return await _answer(request, services, made)


async def _answer(request: Request, services: Services, made: str | Refused) -> dict[str, Any]:
    if isinstance(made, Refused):
        raise error_for(made)
    if request.body_field("inhibit_login", bool, False):
        return {"user_id": made, "home_server": services.config.server_name}
    return await open_session(request, services, made)


async def is_available(request: Request, services: Services) -> dict[str, Any]:
    username = request.query.get("username")
    if username is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: username")
    refused = services.accounts.why_unavailable(username)
    if refused is not None:
        raise error_for(refused)
    return {"available": True}


_VALIDITY = client_path("register/m.login.registration_token/validity", versions=("v1",))

ENDPOINTS = (
    Endpoint("GET", _VALIDITY, token_validity, auth=Auth.NONE, limit="registration_token"),
    Endpoint("POST", client_path("register"), register, auth=Auth.APPSERVICE_OR_NONE, limit="registration"),
    Endpoint("GET", client_path("register/available"), is_available, auth=Auth.NONE, limit="registration"),
)
