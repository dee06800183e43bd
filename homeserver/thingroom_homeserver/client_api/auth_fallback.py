"""GET and POST /auth/{authType}/fallback/web: a stage of user-interactive authentication, done in a browser.

For clients that do not know the stage. The session is the secret that ties the page to the client's request; the stage
counts for nothing else. Single sign-on has pages of its own (single_sign_on.py).
Source: client-server API, "Fallback" of the user-interactive authentication API.
"""

from __future__ import annotations

import secrets
from html import escape
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.addresses import canonical_address
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.client_api import pages
from thingroom_homeserver.client_api.pages import Field
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.http.interactive_auth import DUMMY, EMAIL, PASSWORD, REGISTRATION_TOKEN, TERMS, Asked

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

_FIELDS = {
    PASSWORD: (Field("password", "Password", "password", "current-password"),),
    REGISTRATION_TOKEN: (Field("token", "Registration token"),),
    EMAIL: (Field("email", "Email address", "email", "email"),),
    TERMS: (Field("agree", "I agree", "checkbox"),),
    DUMMY: (),
}
_SAYS = {
    PASSWORD: "To confirm this, give your password.",
    REGISTRATION_TOKEN: "To make an account here you need a registration token.",
    EMAIL: "To make an account here you need an email address. You get a mail with a link.",
    TERMS: "To make an account here you have to agree to these documents.",
    DUMMY: "There is nothing to fill in.",
}


async def show(request: Request, services: Services) -> Response:
    stage, session = request.path["authType"], request.query.get("session", "")
    asked = services.interactive_auth.asked(session, stage)
    if asked is None or stage not in _FIELDS:
        return _expired()
    return pages.stage_done() if asked.done else _form(request, stage, session, asked)


async def take(request: Request, services: Services) -> Response:
    """What was filled in."""
    stage, sent = request.path["authType"], pages.sent_form(request)
    session = sent.get("session", "")
    asked = services.interactive_auth.asked(session, stage)
    if asked is None or stage not in _FIELDS:
        return _expired()
    if asked.done:
        return pages.stage_done()
    if stage == TERMS and "agree" not in sent:
        return _form(request, stage, session, asked)
    try:
        if stage == EMAIL and "sid" not in sent:
            return await _send_mail(request, services, session, asked, sent.get("email", ""))
        failed = await services.interactive_auth.attempt(session, stage, _as_auth(stage, sent), request.address)
    except MatrixError as error:
        failed = error
    if failed is None:
        return pages.stage_done()
    if stage == EMAIL and "sid" in sent:
        return _waiting(request, session, sent["sid"], sent.get("client_secret", ""), failed.error)
    return _form(request, stage, session, asked, failed)


def _as_auth(stage: str, sent: dict[str, str]) -> dict[str, Any]:
    if stage == EMAIL:
        return {"threepid_creds": {"sid": sent.get("sid", ""), "client_secret": sent.get("client_secret", "")}}
    return {name: sent.get(name, "") for name in ("password", "token")}


async def _send_mail(request: Request, services: Services, session: str, asked: Asked, email: str) -> Response:
    address = canonical_address(email)
    wait = services.rate_limiter.take("mail", request.address)
    if address is not None and not wait:
        wait = services.rate_limiter.take("mail_address", address)
    if wait:
        raise limit_exceeded(wait)
    secret = secrets.token_urlsafe(18)
    sid = await services.addresses.request(asked.purpose, email, secret, 1, None)
    if isinstance(sid, Refused):
        return _form(request, EMAIL, session, asked, MatrixError(400, "M_INVALID_PARAM", sid.text))
    return _waiting(request, session, sid, secret, "")


def _waiting(request: Request, session: str, sid: str, client_secret: str, failed: str) -> Response:
    values = {"session": session, "sid": sid, "client_secret": client_secret}
    text = "You get a mail with a link. Open it and confirm; then come back here and go on."
    return pages.form("Look at your mail", f"{failed}. {text}" if failed else text, request.http.path, values, "Go on")


def _form(request: Request, stage: str, session: str, asked: Asked, failed: MatrixError | None = None) -> Response:
    text = _SAYS[stage]
    if asked.user_id:
        text = f"A client wants to change the account {asked.user_id} ({asked.request}). {text}"
    documents = _documents(asked.params) if stage == TERMS else ""
    button = "I agree" if stage == TERMS else "Go on"
    inner = pages.form_html(request.http.path, {"session": session}, button, _FIELDS[stage])
    if failed is None:
        return pages.page("Confirm", text, inner=documents + inner)
    status = failed.status if failed.status == 429 else 400
    return pages.page("Confirm", f"{failed.error}. {text}", status, inner=documents + inner)


def _documents(params: Any) -> str:
    """Links to what is agreed to; the configuration has checked the URLs."""
    links = []
    for policy in params["policies"].values() if params else ():
        for language in policy.values():
            if isinstance(language, dict):
                links.append(f'<li><a href="{escape(language["url"])}">{escape(language["name"])}</a></li>')
    return f"<ul>{''.join(links)}</ul>"


def _expired() -> Response:
    return pages.page("This has expired", "Go back to your client and start again.", 400)


_FALLBACK = client_path("auth/{authType}/fallback/web")

ENDPOINTS = (
    Endpoint("GET", _FALLBACK, show, auth=Auth.NONE, limit="single_sign_on"),
    Endpoint("POST", _FALLBACK, take, auth=Auth.NONE, limit="login"),
)
