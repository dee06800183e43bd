"""Signing in with the Matrix account, by password or the homeserver's single sign-on, and signing out.

May import site, sign_in, limits, sessions. Whoever is not signed in has a cookie of their own (PRE) that their form is
made for, so that nobody can be signed in by another site.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from urllib.parse import quote

from aiohttp import web

from thingroom_gateway.dashboard.limits import Tries, network_of
from thingroom_gateway.dashboard.parameters import own_path
from thingroom_gateway.dashboard.sessions import TOKEN_LENGTH, form_token, is_form_token, new_token
from thingroom_gateway.dashboard.sign_in import MAX_PASSWORD, Denied, SignedIn, user_id_of
from thingroom_gateway.dashboard.site import SESSION, VISITOR, Site, form_of

logger = logging.getLogger(__name__)

PRE = "thingroom_before"
# The way back from the homeserver begins at another site, which a strict cookie is not sent along with.
SSO = "thingroom_sso"
SSO_SECONDS = 600
MAX_TOKEN = 1024
_TOO_OFTEN = "Too many tries. Wait a minute and try again."


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = SignInPages(site)
    return [
        web.get("/sign-in", pages.show),
        web.post("/sign-in", pages.submit),
        web.get("/sign-in/sso", pages.leave),
        web.get("/sign-in/return", pages.come_back),
        web.post("/sign-out", pages.sign_out),
    ]


class SignInPages:
    """Tries count by visitor, by account and by both, unless they were good or the homeserver did not judge them."""

    def __init__(self, site: Site) -> None:
        self._site = site
        monotonic = site.parts.monotonic
        self._by_both = Tries(5, 30.0, monotonic)
        self._by_address = Tries(30, 10.0, monotonic)
        self._by_user = Tries(30, 10.0, monotonic)

    async def show(self, request: web.Request) -> web.StreamResponse:
        to = own_path(request.query.get("to", "/"))
        if self._site.sessions.find(request.cookies.get(SESSION, "")) is not None:
            raise web.HTTPSeeOther(to)
        return await self._form(request, to)

    async def submit(self, request: web.Request) -> web.StreamResponse:
        fields = await form_of(request)
        to, name = own_path(fields.get("to", "/")), fields.get("user", "")
        if not is_form_token(fields.get("form", ""), request.cookies.get(PRE, "")):
            return await self._form(request, to, 403, "This form has expired. Please try again.", name)
        password = fields.get("password", "")
        user = user_id_of(name, self._site.tools.home.server_name)
        if user is None:
            server = self._site.tools.home.server_name
            return await self._form(request, to, 403, f"Sign in with an account of {server}.", name)
        if not password or len(password) > MAX_PASSWORD:
            return await self._form(request, to, 403, "Type your password.", name)
        address = self._address(request)
        keys = ((self._by_both, f"{address} {user}"), (self._by_address, address), (self._by_user, user))
        if not all(tries.take(key) for tries, key in keys):
            logger.warning("too many tries to sign in at the dashboard from %s", address)
            return await self._form(request, to, 429, _TOO_OFTEN, name)
        outcome = await self._site.matrix.with_password(user, password)
        if isinstance(outcome, SignedIn) or outcome.status >= 500:
            for tries, key in keys:
                tries.give_back(key)
        return await self._welcome(request, outcome, to, name)

    async def leave(self, request: web.Request) -> web.StreamResponse:
        """To the homeserver's single sign-on."""
        if not self._by_address.take(self._address(request)):
            return await self._form(request, "/", 429, _TOO_OFTEN)
        if not (await self._site.matrix.flows()).sso:
            return await self._form(request, "/", 404, "The homeserver has no single sign-on.")
        to, mark = own_path(request.query.get("to", "/")), new_token()
        back = f"{self._own_url(request)}/sign-in/return?state={form_token(mark)}&to={quote(to, safe='')}"
        homeserver = self._site.config.homeserver_public_url or self._site.parts.config.homeserver_url
        url = f"{homeserver.rstrip('/')}/_matrix/client/v3/login/sso/redirect?redirectUrl={quote(back, safe='')}"
        response = web.Response(status=303, headers={"Location": url})
        self._set_cookie(response, SSO, mark, SSO_SECONDS, "Lax")
        return response

    async def come_back(self, request: web.Request) -> web.StreamResponse:
        to, token = own_path(request.query.get("to", "/")), request.query.get("loginToken", "")
        mark = request.cookies.get(SSO, "")
        if len(mark) != TOKEN_LENGTH or not is_form_token(request.query.get("state", ""), mark):
            return await self._form(request, to, 403, "That took too long, or began elsewhere. Please try again.")
        if not token or len(token) > MAX_TOKEN:
            return await self._form(request, to, 400, "The homeserver sent no token. Please try again.")
        if not self._by_address.take(self._address(request)):
            return await self._form(request, to, 429, _TOO_OFTEN)
        return await self._welcome(request, await self._site.matrix.with_token(token), to, "")

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        fields = await form_of(request)
        await self._site.sessions.end(request[VISITOR], everywhere=fields.get("everywhere") == "yes")
        response = web.Response(status=303, headers={"Location": "/sign-in"})
        response.del_cookie(SESSION, path="/")
        return response

    async def _welcome(
        self, request: web.Request, outcome: SignedIn | Denied, to: str, name: str
    ) -> web.StreamResponse:
        if isinstance(outcome, Denied):
            return await self._form(request, to, outcome.status, outcome.sentence, name)
        if not await self._site.access.may_enter(outcome.person):
            sentence = f"{outcome.person} is in none of this home's rooms. Ask its owner for an invitation."
            return await self._form(request, to, 403, sentence, name)
        token, seconds = await self._site.sessions.begin(outcome.person)
        # A page and no redirect: after single sign-on a redirect would still count as the other site's, and the
        # browser would keep the strict cookie back.
        response = self._site.page(request, "welcome.html", to=to)
        self._set_cookie(response, SESSION, token, seconds, "Strict")
        for gone in (PRE, SSO):
            response.del_cookie(gone, path="/")
        return response

    async def _form(
        self, request: web.Request, to: str, status: int = 200, sentence: str = "", name: str = ""
    ) -> web.StreamResponse:
        if status in (400, 403, 429):
            self._site.count("too_many_tries" if status == 429 else "sign_in")
        before = request.cookies.get(PRE, "")
        mark = before if len(before) == TOKEN_LENGTH else new_token()
        response = self._site.page(
            request,
            "sign_in.html",
            status,
            flows=await self._site.matrix.flows(),
            server=self._site.tools.home.server_name,
            form=form_token(mark),
            to=to,
            sentence=sentence,
            name=name[:255],
            unsafe=not self._site.is_https and not _is_loopback_name(request.host),
        )
        self._set_cookie(response, PRE, mark, 3600, "Strict")
        return response

    def _set_cookie(self, response: web.Response, name: str, value: str, seconds: int, same_site: str) -> None:
        response.set_cookie(
            name, value, max_age=seconds, path="/", httponly=True, samesite=same_site, secure=self._site.is_https
        )

    def _own_url(self, request: web.Request) -> str:
        return self._site.config.public_url or f"{'https' if self._site.is_https else 'http'}://{request.host}"

    def _address(self, request: web.Request) -> str:
        """Who asks. Of a proxy on this machine, which public_url speaks of, its word counts."""
        address = network_of(request.remote or "")
        if self._site.config.public_url and _is_loopback_name(address):
            forwarded = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
            return network_of(forwarded) if forwarded else address
        return address


def _is_loopback_name(host: str) -> bool:
    return host.startswith(("127.", "localhost", "[::1]", "::/64"))
