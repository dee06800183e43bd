"""Signing in through the CAS server: to it, back from it, and on to the client; and as a stage of another request.

The browser comes back with the cookie it left with, or it is turned away. It goes on to a client that is trusted, or
the person is asked first, with the client's address in sight. Source: client-server API, "SSO".
"""

from __future__ import annotations

import hmac
import secrets
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode, urlsplit

from thingroom_homeserver.accounts.external_ids import CAS
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.accounts.short_tokens import LOGIN
from thingroom_homeserver.client_api import pages
from thingroom_homeserver.client_api.single_sign_on_state import Pending, is_possible_redirect, with_login_token
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.interactive_auth import SINGLE_SIGN_ON

if TYPE_CHECKING:
    from aiohttp import web

    from thingroom_homeserver.accounts.cas import CasServer
    from thingroom_homeserver.services import Services

TICKET_PATH = "/_thingroom/cas/ticket"
COOKIE = "thingroom_sign_on"
CONFIRM_COOKIE = "thingroom_confirm"
COOKIE_SECONDS = 15 * 60
FALLBACK = "auth/m.login.sso/fallback/web"


async def redirect(request: Request, services: Services) -> Response:
    """GET /login/sso/redirect: off to the CAS server."""
    cas = _cas(services)
    provider = request.path.get("idpId", CAS)
    if provider != CAS:
        raise MatrixError(404, "M_NOT_FOUND", "There is no such identity provider")
    url = request.query.get("redirectUrl") or request.query.get("service")
    if not url:
        raise MatrixError(400, "M_MISSING_PARAM", "Missing parameter: redirectUrl")
    if not is_possible_redirect(url):
        raise MatrixError(400, "M_INVALID_PARAM", "redirectUrl is not a URL that a client can have")
    return _leave_for(cas, services, services.single_sign_on.begin(redirect_url=url))


async def show_stage(request: Request, services: Services) -> Response:
    """GET /auth/m.login.sso/fallback/web: what is about to be confirmed, and a button."""
    _cas(services)
    session = request.query.get("session", "")
    purpose = services.interactive_auth.describe(session)
    if purpose is None or not purpose[2]:
        return pages.page("This has expired", "Go back to your client and start again.", 400)
    text = (
        f"A client wants to change the account {purpose[2]} ({purpose[0]} {purpose[1]})."
        " To confirm this, sign in again. If you did not expect this, your account may be compromised!"
    )
    key = secrets.token_urlsafe(18)
    response = pages.form("Confirm", text, request.http.path, {"session": session, "key": key}, "Sign in")
    _set_cookie(response, services, CONFIRM_COOKIE, key, request.http.path, "Strict")
    return response


async def begin_stage(request: Request, services: Services) -> Response:
    """The button of that page, pressed on that page: another site cannot press it (the cookie would be missing)."""
    cas = _cas(services)
    sent = pages.sent_form(request)
    session, key = (sent.get(name, "") for name in ("session", "key"))
    pressed_here = bool(key) and hmac.compare_digest(
        key.encode(), request.http.cookies.get(CONFIRM_COOKIE, "").encode()
    )
    if not pressed_here or services.interactive_auth.describe(session) is None:
        return pages.page("This has expired", "Go back to your client and start again.", 400)
    return _leave_for(cas, services, services.single_sign_on.begin(uia_session=session))


async def take_ticket(request: Request, services: Services) -> Response:
    """Back from the CAS server."""
    cas = _cas(services)
    state, ticket = request.query.get("state", ""), request.query.get("ticket", "")
    pending = services.single_sign_on.end(state, request.http.cookies.get(COOKIE, ""))
    if pending is None:
        return pages.page("This has expired", "Go back to your client and start again.", 400)
    name = await cas.user_of(_service(services, state), ticket) if ticket else None
    if name is None:
        return pages.page("Not signed in", "The sign-on server did not confirm who you are.", 403)
    user_id = await services.external_ids.user_for(name)
    if isinstance(user_id, Refused):
        return pages.page("Not signed in", f"{user_id.text}.", 403)
    return await _go_on(services, pending, user_id)


async def _go_on(services: Services, pending: Pending, user_id: str) -> Response:
    if pending.uia_session:
        if not services.interactive_auth.complete(pending.uia_session, SINGLE_SIGN_ON, user_id):
            return pages.page("Not confirmed", "You signed in as somebody else, or it took too long.", 403)
        return pages.stage_done()
    token = await services.short_tokens.make(LOGIN, user_id, services.config.token_lifetimes.login)
    url = with_login_token(pending.redirect_url, token)
    if services.single_sign_on.is_trusted(pending.redirect_url):
        return pages.redirect(url)
    parts = urlsplit(pending.redirect_url)
    text = (
        f"A client at {parts.scheme}://{parts.netloc} wants to use your account {user_id}."
        " Go on only if you started this there yourself."
    )
    return pages.link("Continue to your client", text, url, "Continue")


def _leave_for(cas: CasServer, services: Services, state: str) -> web.Response:
    response = pages.redirect(cas.login_url(_service(services, state)))
    _set_cookie(response, services, COOKIE, state, "/_thingroom/cas", "Lax")
    return response


def _set_cookie(
    response: web.Response, services: Services, name: str, value: str, path: str, samesite: Literal["Lax", "Strict"]
) -> None:
    response.set_cookie(
        name,
        value,
        max_age=COOKIE_SECONDS,
        path=path,
        httponly=True,
        samesite=samesite,
        secure=services.config.public_base_url.startswith("https://"),
    )


def _service(services: Services, state: str) -> str:
    return f"{services.config.public_base_url.rstrip('/')}{TICKET_PATH}?{urlencode({'state': state})}"


def _cas(services: Services) -> CasServer:
    if services.single_sign_on.cas is None:
        raise MatrixError(404, "M_NOT_FOUND", "This server has no single sign-on")
    return services.single_sign_on.cas


_REDIRECT = (*client_path("login/sso/redirect"), *client_path("login/cas/redirect"))

ENDPOINTS = (
    Endpoint("GET", _REDIRECT, redirect, auth=Auth.NONE, limit="single_sign_on"),
    Endpoint("GET", client_path("login/sso/redirect/{idpId}"), redirect, auth=Auth.NONE, limit="single_sign_on"),
    Endpoint("GET", (TICKET_PATH,), take_ticket, auth=Auth.NONE, limit="single_sign_on"),
    Endpoint("GET", client_path(FALLBACK), show_stage, auth=Auth.NONE, limit="single_sign_on"),
    Endpoint("POST", client_path(FALLBACK), begin_stage, auth=Auth.NONE, limit="single_sign_on"),
)
