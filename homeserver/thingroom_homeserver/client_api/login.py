"""GET and POST /login: a password, a login token or an application service's token becomes a session.

Source: client-server API, "Login" (legacy API); application service API, "Server admin style permissions".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.external_ids import CAS
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.http.authentication import refuse_to_log_in, required_appservice
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError, error_for

if TYPE_CHECKING:
    from thingroom_homeserver.accounts.accounts import Session
    from thingroom_homeserver.services import Services


async def get_login_flows(request: Request, services: Services) -> dict[str, Any]:
    flows: list[dict[str, Any]] = [
        {"type": "m.login.password"},
        {"type": "m.login.token", "get_login_token": True},
        {"type": "m.login.application_service"},
    ]
    if services.single_sign_on.cas is not None:
        name = services.config.cas.name
        flows.append({"type": "m.login.sso", "identity_providers": [{"id": CAS, "name": name}]})
        flows.append({"type": "m.login.cas"})
    return {"flows": flows}


async def login(request: Request, services: Services) -> dict[str, Any]:
    kind = request.body_field("type", str)
    if kind not in ("m.login.password", "m.login.application_service", "m.login.token"):
        raise MatrixError(400, "M_UNKNOWN", "Unknown login type")
    if kind == "m.login.token":
        user_id = await _user_of_token(request, services)
    else:
        user_id = services.accounts.user_id_of(_user_named_in(request, services))
    if kind == "m.login.password":
        refused = await services.logins.check(user_id, request.body_field("password", str), request.address)
        if refused is not None:
            raise error_for(refused)
    elif kind == "m.login.application_service":
        _check_appservice(request, services, user_id)
    return await open_session(request, services, user_id)


async def open_session(request: Request, services: Services, user_id: str) -> dict[str, Any]:
    """Log a device in as the body asks: its id, its name, whether the token is to be refreshed. Raises MatrixError."""
    session = await services.accounts.open_session(
        user_id,
        request.address,
        request.body_field("device_id", str, None),
        request.body_field("initial_device_display_name", str, None),
        refreshable=request.body_field("refresh_token", bool, False),
    )
    if isinstance(session, Refused):
        raise error_for(session)
    return session_json(session, services)


def session_json(session: Session, services: Services) -> dict[str, Any]:
    """What /login and /register tell of a new session."""
    answer: dict[str, Any] = {
        "user_id": session.user_id,
        "access_token": session.access_token,
        "device_id": session.device_id,
        "home_server": services.config.server_name,
    }
    if session.refresh_token is not None:
        answer["refresh_token"] = session.refresh_token
    if session.expires_in_ms is not None:
        answer["expires_in_ms"] = session.expires_in_ms
    if services.config.public_base_url:
        answer["well_known"] = {"m.homeserver": {"base_url": services.config.public_base_url}}
    return answer


async def _user_of_token(request: Request, services: Services) -> str:
    user_id = await services.short_tokens.use_login_token(request.body_field("token", str))
    account = services.accounts.find(user_id) if user_id is not None else None
    if user_id is None or account is None or account["deactivated"]:
        raise MatrixError(403, "M_FORBIDDEN", "The login token is not valid")
    if account["locked"]:
        raise MatrixError(401, "M_USER_LOCKED", "This account has been locked", soft_logout=True)
    return user_id


def _user_named_in(request: Request, services: Services) -> str:
    identifier = request.body_field("identifier", dict, None)
    if identifier is None:
        user: Any = request.body_field("user", str, None)
        if user is None and isinstance(request.body.get("address"), str):
            identifier = {"type": "m.id.thirdparty", **request.body}
    elif identifier.get("type") == "m.id.user":
        user = identifier.get("user")
    elif identifier.get("type") != "m.id.thirdparty":
        raise MatrixError(403, "M_FORBIDDEN", "Only m.id.user and m.id.thirdparty can be used to log in")
    if identifier is not None and identifier.get("type") == "m.id.thirdparty":
        medium, address = identifier.get("medium"), identifier.get("address")
        if not (isinstance(medium, str) and isinstance(address, str)):
            raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: identifier.address")
        return services.addresses.user_with(medium, address) or f"@{address}"  # nobody's: it has no server
    if not isinstance(user, str):
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: identifier.user")
    return user


def _check_appservice(request: Request, services: Services, user_id: str) -> None:
    appservice = required_appservice(request)
    refuse_to_log_in(appservice)
    if not appservice.covers_user(user_id):
        raise MatrixError(400, "M_EXCLUSIVE", "The user is outside of the application service's namespaces")
    if not services.accounts.exists(user_id):
        raise MatrixError(403, "M_FORBIDDEN", "The user has not been registered")


ENDPOINTS = (
    Endpoint("GET", client_path("login"), get_login_flows, auth=Auth.NONE),
    Endpoint("POST", client_path("login"), login, auth=Auth.APPSERVICE_OR_NONE, limit="login"),
)
