"""POST /login/get_token: a token that signs another client in, once.

Every token is asked for anew: a session of interactive authentication is good for one request.
Source: client-server API, "Token-based" login.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.short_tokens import LOGIN
from thingroom_homeserver.http.endpoint import Endpoint, Request, Response, client_path
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.http.interactive_auth import PASSWORD

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services


async def get_login_token(request: Request, services: Services) -> dict[str, Any] | Response:
    requester = request.requester
    if requester.appservice is not None:
        raise MatrixError(403, "M_FORBIDDEN", "An application service's users log in through it")
    challenge = await services.interactive_auth.challenge(request, (PASSWORD,), requester.user_id)
    if challenge is not None:
        return challenge
    wait = services.rate_limiter.take("login_token", requester.user_id)
    if wait:
        raise limit_exceeded(wait)
    seconds = services.config.token_lifetimes.login
    token = await services.short_tokens.make(LOGIN, requester.user_id, seconds)
    return {"login_token": token, "expires_in_ms": seconds * 1000}


ENDPOINTS = (Endpoint("POST", client_path("login/get_token", versions=("v1",)), get_login_token),)
