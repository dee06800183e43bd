"""POST /register and GET /register/available.

Registration is off unless configured; application services make their ghosts here whatever the configuration says.
Source: client-server API, "Account registration"; application service API, "Server admin style permissions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.client_api.login import session_json
from thingroom_homeserver.http.authentication import required_appservice
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.http.interactive_auth import DUMMY

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def register(request: Request, services: Services) -> dict[str, Any] | Response:
    kind = request.query.get("kind", "user")
    if kind == "guest":
        raise MatrixError(403, "M_GUEST_ACCESS_FORBIDDEN", "There are no guest accounts here")
    if kind != "user":
        raise MatrixError(400, "M_INVALID_PARAM", "kind must be user or guest")
    if request.body_field("type", str, None) == "m.login.application_service":
        return await _register_ghost(request, services)
    if services.config.registration != "open":
        raise MatrixError(403, "M_FORBIDDEN", "Registration is disabled")
    username = request.body_field("username", str, None)
    password = request.body_field("password", str, None)
    if username is not None:
        refused = services.accounts.why_unavailable(username)
        if refused is not None:
            raise error_for(refused)
    challenge = await services.interactive_auth.challenge(request, (DUMMY,))
    if challenge is not None:
        return challenge
    if password is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: password")
    return await _answer(request, services, await services.accounts.create_account(username, password))


async def _register_ghost(request: Request, services: Services) -> dict[str, Any]:
    appservice = required_appservice(request)
    username = request.body_field("username", str)
    made = await services.accounts.create_account(username, None, appservice=appservice)
    return await _answer(request, services, made)


async def _answer(request: Request, services: Services, made: str | Refused) -> dict[str, Any]:
    if isinstance(made, Refused):
        raise error_for(made)
    if request.body_field("inhibit_login", bool, False):
        return {"user_id": made, "home_server": services.config.server_name}
    session = await services.accounts.open_session(
        made,
        request.address,
        request.body_field("device_id", str, None),
        request.body_field("initial_device_display_name", str, None),
    )
    if isinstance(session, Refused):
        raise error_for(session)
    return session_json(session, services)


async def is_available(request: Request, services: Services) -> dict[str, Any]:
    username = request.query.get("username")
    if username is None:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: username")
    refused = services.accounts.why_unavailable(username)
    if refused is not None:
        raise error_for(refused)
    return {"available": True}


ENDPOINTS = (
    Endpoint("POST", client_path("register"), register, auth=Auth.APPSERVICE_OR_NONE, limit="registration"),
    Endpoint("GET", client_path("register/available"), is_available, auth=Auth.NONE, limit="registration"),
)
