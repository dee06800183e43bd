"""What an endpoint is, and what its handler gets and gives.

May import aiohttp. Handlers live in client_api/ and appservice_api/, one endpoint a file; `frame.py` calls them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from aiohttp import web
from multidict import CIMultiDict, MultiDict

from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.json_body import parse_json_object
from thingroom_homeserver.http.requester import Requester

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services

CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "X-Requested-With, Content-Type, Authorization",
}
_JSON_HEADERS = CIMultiDict({"Content-Type": "application/json", "Server": "Thingroom", **CORS_HEADERS})
_NO_QUERY: MultiDict[str] = MultiDict()

WAITS: web.RequestKey[bool] = web.RequestKey("waits", bool)
"""Set on requests whose handler may be cancelled when the connection is lost."""

Response = web.StreamResponse


class Auth(Enum):
    """Whose token an endpoint wants. APPSERVICE_OR_NONE: a token counts only if it is an application service's.

    SERVER: no token, but another homeserver's signature over the request; `request.origin` is that server.
    """

    USER = auto()
    OPTIONAL = auto()
    NONE = auto()
    APPSERVICE_ONLY = auto()
    APPSERVICE_OR_NONE = auto()
    SERVER = auto()


class Body(Enum):
    """How the body arrives: read whole and parsed on demand, or left in the socket for the handler to stream."""

    JSON = auto()
    STREAM = auto()


class Request:
    """One HTTP request as a handler sees it."""

    def __init__(
        self,
        http: web.Request,
        path: dict[str, str],
        query_string: str,
        address: str,
        *,
        token_in_query: bool = False,
    ) -> None:
        self.http = http
        self.path = path
        self.address = address
        self.token_in_query = token_in_query
        self.raw_body = b""
        self.any_integers = False
        self._query_string = query_string
        self._requester: Requester | None = None
        self._origin: str | None = None

    @property
    def method(self) -> str:
        return self.http.method

    @property
    def requester(self) -> Requester:
        """Who asks. Only for endpoints that need a token; others look at `requester_or_none`."""
        assert self._requester is not None, "the endpoint's auth does not promise a requester"
        return self._requester

    @property
    def requester_or_none(self) -> Requester | None:
        return self._requester

    @property
    def origin(self) -> str:
        """The homeserver that asks. Only for endpoints with Auth.SERVER."""
        assert self._origin is not None, "the endpoint's auth does not promise an origin"
        return self._origin

    def set_origin(self, origin: str) -> None:
        """The frame's, before the handler runs."""
        self._origin = origin

    def set_requester(self, requester: Requester | None) -> None:
        """The frame's, before the handler runs."""
        self._requester = requester

    @cached_property
    def query(self) -> MultiDict[str]:
        """The query's parameters, decoded; a name may come more than once."""
        if not self._query_string:
            return _NO_QUERY
        try:
            return MultiDict(parse_qsl(self._query_string, keep_blank_values=True, errors="strict", max_num_fields=200))
        except ValueError:
            raise MatrixError(400, "M_INVALID_PARAM", "The query cannot be decoded") from None

    @cached_property
    def body(self) -> dict[str, Any]:
        """The JSON object that was sent. Raises MatrixError: M_NOT_JSON, M_BAD_JSON."""
        return parse_json_object(self.raw_body, any_integers=self.any_integers)

    @property
    def optional_body(self) -> dict[str, Any]:
        """Like `body`, but nothing at all counts as {} (clients of old endpoints send that)."""
        return self.body if self.raw_body.strip() else {}

    def body_field(self, name: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        """`body[name]`, checked to be of `kind`; a missing one is `default`, or M_MISSING_PARAM without a default."""
        value = self.body.get(name)
        if value is None:
            if default is ...:
                raise MatrixError(400, "M_MISSING_PARAM", f"Missing parameter: {name}")
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            raise MatrixError(400, "M_BAD_JSON", f"{name} has the wrong type")
        return value

    def query_int(
        self, name: str, default: int | None = None, *, lowest: int = 0, highest: int | None = None
    ) -> int | None:
        """The integer `?name=`, cut down to `highest`. Raises MatrixError M_INVALID_PARAM."""
        text = self.query.get(name)
        if text is None:
            return default
        digits = text.removeprefix("-")
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 19) or int(text) < lowest:
            raise MatrixError(400, "M_INVALID_PARAM", f"{name} must be an integer of at least {lowest}")
        return int(text) if highest is None else min(int(text), highest)

    def query_bool(self, name: str, default: bool = False) -> bool:
        """`?name=true` or `false`. Raises MatrixError M_INVALID_PARAM."""
        text = self.query.get(name)
        if text is None:
            return default
        if text not in ("true", "false"):
            raise MatrixError(400, "M_INVALID_PARAM", f"{name} must be true or false")
        return text == "true"


Handler = Callable[[Request, "Services"], Awaitable[dict[str, Any] | Response]]


@dataclass(frozen=True)
class Endpoint:
    """One method on one or more paths. `limit` names a rate of http/rate_limit.py, taken before the handler runs.

    `ts` says that an application service may set the event's time with `?ts=` here
    (application service API, "Timestamp massaging"). `waits`: a long poll, which ends when whoever asked goes away.
    """

    method: str
    paths: tuple[str, ...]
    handler: Handler
    auth: Auth = Auth.USER
    limit: str | None = None
    body: Body = Body.JSON
    ts: bool = False
    waits: bool = False


def client_path(path: str, *, versions: tuple[str, ...] = ("v3", "r0")) -> tuple[str, ...]:
    """The full paths of a client-server endpoint: "sync" -> "/_matrix/client/v3/sync", "/_matrix/client/r0/sync"."""
    return tuple(f"/_matrix/client/{version}/{path}" for version in versions)


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """`value` as a JSON response with the CORS headers."""
    all_headers = _JSON_HEADERS
    if headers:
        all_headers = _JSON_HEADERS.copy()
        all_headers.update(headers)
    return web.Response(body=encode_json(value), status=status, headers=all_headers)
