"""The HTTP server of the dashboard: who may come in, what goes wrong and how that is said, headers, static files.

May import aiohttp, Jinja2 and everything in this folder. app.py starts it. Each pages_*.py gives its routes; a page
is asked only for a visitor who is signed in, and a form only if it was made for that visitor.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from thingroom_common.addresses import is_loopback
from thingroom_common.config_file import ConfigError
from thingroom_gateway.bot.people import NotNow
from thingroom_gateway.charts.process import ChartError
from thingroom_gateway.dashboard import (
    pages_actions,
    pages_charts,
    pages_devices,
    pages_live,
    pages_pairing,
    pages_pictures,
    pages_sign_in,
    pages_status,
)
from thingroom_gateway.dashboard.parameters import Bad
from thingroom_gateway.dashboard.parts import Parts
from thingroom_gateway.dashboard.sessions import is_form_token
from thingroom_gateway.dashboard.site import SESSION, VISITOR, Site, form_of
from thingroom_gateway.listening import check_listening

logger = logging.getLogger(__name__)

MAX_BODY: Final = 16_384
MAX_PATH: Final = 2048
HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not no-referrer: browsers would then send forms with the origin "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
# Pages for those who are not signed in.
_OPEN: Final = ("/sign-in", "/static/", "/favicon.ico")
_SENTENCES: Final = {
    403: "Sorry, that is not for you.",
    404: "There is no such page.",
    405: "This page cannot do that.",
    413: "That is too much at once.",
}


class Dashboard:
    """Listens from `open` to `close`; `port` is the real one then. `run` keeps live pages up to date."""

    def __init__(self, parts: Parts) -> None:
        self._config = parts.config.dashboard
        self._site = Site(parts)
        self._runner: web.AppRunner | None = None
        self.port = 0
        self._http = logging.Logger(f"{__name__}.http")
        self._http.parent = logger
        self.live = self._site.live
        self.rejections = self._site.rejections

    async def open(self) -> None:
        """Listen. Raises ConfigError."""
        host, port = self._config.address
        context = self._tls()
        check_listening("the dashboard", "gateway.dashboard", host, port, socket.SOCK_STREAM, both="listen")
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BODY, handler_args={"max_line_size": 8190})
        app.on_response_prepare.append(_add_headers)
        app.router.add_get("/static/{name}", self._static)
        app.router.add_get("/favicon.ico", self._static)
        for pages in (
            pages_sign_in,
            pages_devices,
            pages_charts,
            pages_actions,
            pages_pairing,
            pages_pictures,
            pages_status,
            pages_live,
        ):
            routes: Sequence[web.RouteDef] = pages.routes(self._site)
            app.router.add_routes(routes)
        self._http.addFilter(self._is_worth_a_line)
        self._runner = web.AppRunner(
            app, access_log=None, logger=self._http, shutdown_timeout=1.0, keepalive_timeout=30
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, host, port, ssl_context=context).start()
        self.port = self._runner.addresses[0][1]
        if context is None and not self._config.public_url.startswith("https:") and not is_loopback(host):
            logger.warning(
                "the dashboard listens on %s without TLS: passwords can be read on the way; set tls_certificate or "
                "public_url in [gateway.dashboard]",
                self._config.listen,
            )

    async def close(self) -> None:
        self._site.live.close()
        if self._runner is not None:
            await self._runner.cleanup()
        await self._site.matrix.close()

    def _is_worth_a_line(self, record: logging.LogRecord) -> bool:
        """What is no HTTP is counted, and no line for each in the log."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            self._site.count("malformed")
            return False
        return True

    async def run(self) -> None:
        """Until cancelled."""
        await self._site.live.run()

    def _tls(self) -> ssl.SSLContext | None:
        if not self._config.tls_certificate:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self._config.tls_certificate, self._config.tls_key or None)
        except OSError as error:
            raise ConfigError(
                f"the dashboard's certificate cannot be used ({error}): change tls_certificate and tls_key in "
                "[gateway.dashboard]."
            ) from None
        return context

    # --- the way of a request ------------------------------------------------------------------------------------

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await self._admitted(request, handler)
        except web.HTTPException as error:
            if error.status < 400:
                raise
            sentence = _SENTENCES.get(error.status, "That did not work.")
            return self._site.problem(request, error.status, sentence)
        except Bad as error:
            return self._site.problem(request, 400, str(error))
        except NotNow:
            return self._site.problem(
                request, 503, "The homeserver does not answer, so it is not known what you may see. Try again soon."
            )
        except ChartError as error:
            return self._site.problem(request, 503, f"{str(error)[:1].upper()}{str(error)[1:]}.")
        except sqlite3.Error as error:
            logger.error("the dashboard waits for the database: %s", error)
            return self._site.problem(request, 503, "The gateway's disk does not answer. Try again soon.")
        except ConnectionError:
            raise
        except Exception:
            logger.exception("a page failed: %s %s", request.method, request.path[:200])
            return self._site.problem(request, 500, "That is a fault of ours; the log has more.")

    async def _admitted(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The page, for those who are signed in; forms only from our own pages."""
        if len(request.raw_path) > MAX_PATH:
            return self._site.problem(request, 414, "That address is too long.")
        if request.method not in ("GET", "HEAD", "POST"):
            return self._site.problem(request, 405, _SENTENCES[405])
        if request.method == "POST":
            if not _same_origin(request):
                return self._site.problem(request, 403, "This form was sent by another site.")
            await form_of(request)
        if any(request.path == one or (one.endswith("/") and request.path.startswith(one)) for one in _OPEN) or (
            request.path.startswith("/sign-in/")
        ):
            return await handler(request)
        token = request.cookies.get(SESSION, "")
        visitor = self._site.sessions.find(token)
        if visitor is None:
            return self._stranger(request)
        request[VISITOR] = visitor
        if request.method == "POST" and not is_form_token((await form_of(request)).get("form", ""), token):
            return self._site.problem(request, 403, "This form has expired. Go back, load the page anew and try again.")
        return await handler(request)

    def _stranger(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and not request.path.startswith(("/api/", "/live")):
            to = f"?to={quote(request.path_qs, safe='')}" if request.path_qs != "/" else ""
            raise web.HTTPSeeOther(f"/sign-in{to}"[:MAX_PATH])
        return self._site.problem(request, 401, "You are not signed in.")

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = "icon.svg" if request.path == "/favicon.ico" else request.match_info["name"]
        file = self._site.static.get(name)
        if file is None:
            raise web.HTTPNotFound
        headers = {"ETag": file.etag, "Cache-Control": "max-age=86400" if request.query_string else "no-cache"}
        if request.headers.get("If-None-Match") == file.etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=file.data, content_type=file.content_type, charset="utf-8", headers=headers)


async def _add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers[name] = value
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["Server"] = "Thingroom"


def _same_origin(request: web.Request) -> bool:
    """Whether a browser says that one of our own pages sent this; what is no browser has no say here."""
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None and site not in ("same-origin", "none"):
        return False
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == request.host
    except ValueError:
        return False
