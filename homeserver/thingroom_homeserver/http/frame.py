"""From an HTTP request to a handler and back: route, authenticate, limit, read the body, call, encode.

May import aiohttp, the endpoint types and accounts. `server.py` gives it the endpoints; handlers never see it.
"""

from __future__ import annotations

import itertools
import logging
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING

from aiohttp import web

from thingroom_common.log_lines import REQUEST_ID
from thingroom_homeserver.http.endpoint import (
    CORS_HEADERS,
    WAITS,
    Auth,
    Body,
    Endpoint,
    Request,
    Response,
    json_response,
)
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded, unrecognized
from thingroom_homeserver.http.requester import Requester
from thingroom_homeserver.http.restrictions import check_standing
from thingroom_homeserver.http.routes import Found, Routes, UndecodablePath
from thingroom_homeserver.metrics import UNKNOWN

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

logger = logging.getLogger(__name__)
requests_logger = logging.getLogger("thingroom_homeserver.requests")

ENDPOINT: web.RequestKey[Endpoint] = web.RequestKey("endpoint", Endpoint)

MAX_SERVER_BODY_BYTES = 12 * 1024 * 1024
"""Of a request by another homeserver: a transaction of 50 of the largest events, and 100 messages beside them."""

_WITH_BODY = frozenset({"POST", "PUT", "DELETE"})


class Frame:
    """The one aiohttp handler of the server."""

    def __init__(self, endpoints: Iterable[Endpoint], services: Services) -> None:
        self._services = services
        self._trust_forwarded_for = services.config.trust_forwarded_for
        self._token_in_query = services.config.access_token_in_query
        self._max_body_bytes = services.config.max_body_bytes
        self._log_requests = services.config.log_requests
        self._start = secrets.token_hex(3)
        self._numbers = itertools.count(1)
        self._routes: Routes[Endpoint] = Routes()
        for endpoint in endpoints:
            for path in endpoint.paths:
                self._routes.add(endpoint.method, path, endpoint)

    async def handle(self, http: web.Request) -> Response:
        """Answer one request. Never raises, except for cancellation and a connection that went away."""
        REQUEST_ID.set(request_id := f"{self._start}-{next(self._numbers)}")
        started = self._services.clock.monotonic()
        answer = await self._handle(http, request_id)
        seconds = max(0.0, self._services.clock.monotonic() - started)
        endpoint = http.get(ENDPOINT)
        template = UNKNOWN if endpoint is None else endpoint.paths[0]
        method = http.method if endpoint is not None else UNKNOWN
        self._services.metrics.count_request(method, template, answer.status, seconds)
        if self._log_requests:
            fields = {"method": method, "endpoint": template, "path": http.raw_path.partition("?")[0]}
            fields |= {"status": answer.status, "ms": round(seconds * 1000, 1), "address": self._address(http)}
            requests_logger.info("request", extra={"fields": fields})
        return answer

    async def _handle(self, http: web.Request, request_id: str) -> Response:
        try:
            if http.method == "OPTIONS":
                return web.Response(status=204, headers=CORS_HEADERS)
            return await self._answer(http)
        except MatrixError as error:
            return json_response(error.body(), error.status, error.headers)
        except web.HTTPRequestEntityTooLarge:
            return json_response(MatrixError(413, "M_TOO_LARGE", "The body is too large").body(), 413)
        except web.RequestPayloadError:
            refusal = MatrixError(400, "M_NOT_JSON", "The body cannot be read")
            return json_response(refusal.body(), refusal.status, {"Connection": "close"})
        except ConnectionError:
            return web.Response(status=400)  # to nobody: the connection is gone
        except web.HTTPException:
            raise
        except Exception:
            logger.exception("%s %s failed", http.method, http.path)
            return json_response(
                {"errcode": "M_UNKNOWN", "error": f"Internal server error in request {request_id}"}, 500
            )

    async def _answer(self, http: web.Request) -> Response:
        path, _, query_string = http.raw_path.partition("?")
        try:
            found = self._routes.find(http.method, path)
        except UndecodablePath:
            raise MatrixError(400, "M_INVALID_PARAM", "The path cannot be decoded") from None
        if not isinstance(found, Found):
            raise unrecognized(404) if found is None else unrecognized(405, ", ".join(found.allowed))
        endpoint = found.target
        http[ENDPOINT] = endpoint
        if endpoint.waits:
            http[WAITS] = True
        request = Request(
            http, found.parameters, query_string, self._address(http), token_in_query=self._token_in_query
        )
        if endpoint.auth is Auth.SERVER:
            return await self._answer_server(endpoint, request)
        if endpoint.auth is not Auth.NONE:
            requester = self._services.authentication.requester_of(request, endpoint)
            request.set_requester(requester)
            if requester is not None and (requester.is_locked or requester.is_suspended or requester.is_guest):
                check_standing(endpoint, request, requester, self._services)
        if endpoint.limit is not None:
            self._limit(endpoint.limit, request.requester_or_none, request.address)
        if endpoint.body is Body.JSON and http.method in _WITH_BODY:
            if http.content_length is not None and http.content_length > self._max_body_bytes:
                raise MatrixError(413, "M_TOO_LARGE", "The body is too large")
            request.raw_body = await http.read()
        result = await endpoint.handler(request, self._services)
        return json_response(result) if isinstance(result, dict) else result

    async def _answer_server(self, endpoint: Endpoint, request: Request) -> Response:
        """Answer another homeserver. The signature covers the body, so that is read first."""
        authentication = self._services.federation.authentication
        claimed = authentication.credentials_of(request)
        request.any_integers = True
        request.raw_body = await _read_at_most(request.http, MAX_SERVER_BODY_BYTES)
        origin = await authentication.origin_of(request, claimed)
        request.set_origin(origin)
        if endpoint.limit is not None and (wait := self._services.rate_limiter.take(endpoint.limit, origin)):
            raise limit_exceeded(wait)
        result = await endpoint.handler(request, self._services)
        return json_response(result) if isinstance(result, dict) else result

    def _limit(self, kind: str, requester: Requester | None, address: str) -> None:
        if requester is not None and requester.appservice is not None:
            appservice = requester.appservice
            if not appservice.rate_limited or requester.user_id == appservice.sender:
                return
        wait = self._services.rate_limiter.take(kind, requester.user_id if requester else address)
        if wait:
            raise limit_exceeded(wait)

    def _address(self, http: web.Request) -> str:
        if self._trust_forwarded_for:
            forwarded = http.headers.get("X-Forwarded-For")
            if forwarded:
                return forwarded.rpartition(",")[2].strip()
        return http.remote or ""


async def _read_at_most(http: web.Request, limit: int) -> bytes:
    """The body. Raises MatrixError M_TOO_LARGE."""
    if (http.content_length or 0) > limit:
        raise MatrixError(413, "M_TOO_LARGE", "The body is too large")
    data = bytearray()
    async for chunk in http.content.iter_any():
        data += chunk
        if len(data) > limit:
            raise MatrixError(413, "M_TOO_LARGE", "The body is too large")
    return bytes(data)
