"""Between the sockets and the frame: what aiohttp answers itself is said in Matrix's words as well.

May import aiohttp and the HTTP types. server.py makes one application and one runner for each listener.
"""

from __future__ import annotations

from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.typedefs import Handler
from aiohttp.web_protocol import RequestHandler

from thingroom_homeserver.http.endpoint import WAITS, json_response
from thingroom_homeserver.http.errors import MatrixError

REQUEST_LINE_BYTES = 32_768  # filters may stand in the query, percent-encoded
KEEP_ALIVE_SECONDS = 120.0

_WORDS = {
    400: ("M_UNKNOWN", "This is not a request of HTTP that the server understands"),
    413: ("M_TOO_LARGE", "The body is too large"),
    414: ("M_TOO_LARGE", "The address is too long"),
    431: ("M_TOO_LARGE", "The headers are too long"),
}
_OTHERWISE = ("M_UNKNOWN", "The request cannot be answered")


class _Protocol(RequestHandler):
    """One connection."""

    __slots__ = ()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Whoever waited for news is gone: nobody needs to go on waiting."""
        request, task = self._current_request, self._task_handler
        super().connection_lost(exc)
        if task is not None and request is not None and WAITS in request:
            task.cancel()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Before there is a request that the frame could answer: the bytes are none, or headers are too long."""
        super().handle_error(request, status, exc, message)  # it logs, and raises where an answer is under way
        response = json_response(MatrixError(status, *_WORDS.get(status, _OTHERWISE)).body(), status)
        response.force_close()
        return response


class _Server(web.Server):
    """Makes the connections of one listener."""

    def __init__(self, handle: Handler, made: web.Server, **options: Any) -> None:
        super().__init__(handle, request_factory=made.request_factory, **options)  # type: ignore[arg-type]
        self._options = options

    def __call__(self) -> RequestHandler:
        return _Protocol(self, loop=self._loop, **self._options)


class MatrixRunner(web.AppRunner):
    """Serves an application of `matrix_app`, so that nothing is ever answered in other words than Matrix's.

    The application starts and ends the parts; requests go past its router, for the frame has one of its own.
    """

    def __init__(self, app: web.Application, *, seconds_to_finish: float) -> None:
        self._options: dict[str, Any] = {
            "access_log": None,
            "keepalive_timeout": KEEP_ALIVE_SECONDS,
            "max_line_size": REQUEST_LINE_BYTES,
        }
        super().__init__(app, shutdown_timeout=seconds_to_finish, **self._options)

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        handle: Handler | None = self.app.get(_HANDLE)
        if handle is None:
            return made

        async def answer(request: web.Request) -> web.StreamResponse:
            if "Expect" in request.headers:
                refused = await _expect(request)
                if refused is not None:
                    return refused
            return await handle(request)

        return _Server(answer, made, **self._options)


_HANDLE: web.AppKey[Any] = web.AppKey("handle", object)


def matrix_app(handle: Handler, max_body_bytes: int) -> web.Application:
    """An application whose requests all go to `handle`. Serve it with MatrixRunner."""
    app = web.Application(client_max_size=max_body_bytes)
    app[_HANDLE] = handle
    return app


async def _expect(request: web.Request) -> web.StreamResponse | None:
    """Expect: 100-continue (RFC 9110, section 10.1.1); whatever else a client expects is not there."""
    if request.headers["Expect"].lower() != "100-continue":
        return json_response(MatrixError(417, "M_UNKNOWN", "Nothing but 100-continue can be expected").body(), 417)
    if request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
    return None
