"""The three .../email/requestToken, and the page that the link in a mail leads to.

The page asks for a click before anything is confirmed, because mail scanners follow links.
Source: client-server API, "Adding Account Administrative Contact Information"; identity service API, "validate/email".
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.addresses import ADD, CONFIRM_PATH, REGISTER, RESET, canonical_address
from thingroom_homeserver.client_api import pages
from thingroom_homeserver.client_api.checks import granted
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

MAX_SEND_ATTEMPT = 2**31


async def _request(request: Request, services: Services, *, purpose: str) -> dict[str, Any]:
    if purpose == REGISTER and services.config.registration != "open":
        raise MatrixError(403, "M_FORBIDDEN", "Registration is disabled")
    email, client_secret = request.body_field("email", str), request.body_field("client_secret", str)
    send_attempt = request.body_field("send_attempt", int)
    if not 0 <= send_attempt < MAX_SEND_ATTEMPT:
        raise MatrixError(400, "M_INVALID_PARAM", "send_attempt is out of range")
    next_link = request.body_field("next_link", str, None)
    if next_link is not None and not services.single_sign_on.is_trusted(next_link):
        next_link = None
    address = canonical_address(email)
    if services.addresses.enabled and address is not None:
        wait = services.rate_limiter.take("mail_address", address)
        if wait:
            raise limit_exceeded(wait)
    return {"sid": granted(await services.addresses.request(purpose, email, client_secret, send_attempt, next_link))}


async def show_confirmation(request: Request, services: Services) -> Response:
    values = {name: request.query.get(name, "") for name in ("sid", "client_secret", "token")}
    row = services.addresses.find_pending(**values)
    if row is None:
        return pages.page("This link is not good", "It has been used already, or it is older than an hour.", 400)
    what = {
        REGISTER: "to make an account",
        ADD: "to add this address to an account",
        RESET: "to reset the password of your account",
    }[row["purpose"]]
    text = f"Confirm that {row['address']} is yours, and that you asked {what} on {services.config.server_name}."
    return pages.form("Confirm your address", text, CONFIRM_PATH, values, "Confirm")


async def confirm(request: Request, services: Services) -> Response:
    sent = pages.sent_form(request)
    values = {name: sent.get(name, "") for name in ("sid", "client_secret", "token")}
    row = await services.addresses.confirm(**values)
    if row is None:
        return pages.page("This link is not good", "It has been used already, or it is older than an hour.", 400)
    if row["next_link"] is not None and services.single_sign_on.is_trusted(row["next_link"]):
        return pages.redirect(row["next_link"])
    return pages.page("Thank you", "Your address is confirmed. Go back to your Matrix client and continue there.")


ENDPOINTS = (
    *(
        Endpoint("POST", client_path(path), partial(_request, purpose=purpose), auth=auth, limit="mail")
        for path, purpose, auth in (
            ("register/email/requestToken", REGISTER, Auth.NONE),
            ("account/password/email/requestToken", RESET, Auth.NONE),
            ("account/3pid/email/requestToken", ADD, Auth.OPTIONAL),
        )
    ),
    Endpoint("GET", (CONFIRM_PATH,), show_confirmation, auth=Auth.NONE, limit="mail_confirm"),
    Endpoint("POST", (CONFIRM_PATH,), confirm, auth=Auth.NONE, limit="mail_confirm"),
)
