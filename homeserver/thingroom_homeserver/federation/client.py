"""Requests to other homeservers: found by discovery, signed, over verified TLS, limited in time and size.

May import aiohttp, core and this package's discovery, connections and x_matrix. Never raises for what a peer does: the
answer is a JSON object or a `Failed`. Everything in federation/ asks through it. Source: Server-Server API, "Request
Authentication".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import TypeVar
from urllib.parse import quote, urlencode

import aiohttp
import yarl

from thingroom_homeserver.core.canonical_json import (
    CanonicalJsonError,
    JsonDecodeError,
    JsonObject,
    JsonValue,
    decode_json,
    encode_canonical_json,
)
from thingroom_homeserver.federation.connections import read_at_most
from thingroom_homeserver.federation.discovery import Discovery, Route
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.federation.reachability import Reachability
from thingroom_homeserver.federation.x_matrix import Credentials, authorization, signed_bytes

MAX_ANSWER_BYTES = 8 * 1024 * 1024
MAX_ERROR_BYTES = 65_536
RETRY_PAUSES = (0.2, 1.0)
PATIENT_SECONDS = 10.0
"""Whoever gives a server less time than this does not learn from its silence that it is down."""
NOT_FEDERATING = "This server does not federate: none of its listeners serves other homeservers"

Query = Iterable[tuple[str, str]]
T = TypeVar("T")
Read = Callable[[aiohttp.ClientResponse], Awaitable[T | Failed]]
"""What makes an answer of a response, or says why not. It may raise aiohttp.ClientError where that breaks off."""


def path(version: str, *segments: str) -> str:
    """A path of the Server-Server API: path("v1", "make_join", "!r:x", "@a:y") -> "/_matrix/federation/v1/make_join/…".

    Every segment is percent-encoded whole.
    """
    return "/_matrix/federation/" + "/".join(quote(segment, safe="") for segment in (version, *segments))


class FederationClient:
    """Asks other servers in the name of this one."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        discovery: Discovery,
        own_keys: OwnKeys,
        reachability: Reachability,
        *,
        timeout_seconds: float,
        enabled: bool = True,
    ) -> None:
        self._http = http
        self._discovery = discovery
        self._own_keys = own_keys
        self._reachability = reachability
        self._timeout_seconds = timeout_seconds
        self._enabled = enabled
        self.ended: Counter[str] = Counter()
        """How requests ended, since the start: "answered", or why not."""

    @property
    def enabled(self) -> bool:
        """Whether anybody is asked at all."""
        return self._enabled

    async def request(
        self,
        destination: str,
        method: str,
        path: str,
        *,
        query: Query = (),
        body: JsonObject | None = None,
        timeout_seconds: float | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
        retry: bool = False,
        ignore_backoff: bool = False,
        signed: bool = True,
    ) -> JsonObject | Failed:
        """Ask `destination`, and read the JSON object that it answers with status 200.

        `path` is percent-encoded already. `retry`: once or twice more when it cannot be reached, in the same time.
        `ignore_backoff`: ask even if it has been down a moment ago. The list `[200, {…}]`, which old versions of
        endpoints answer, counts as its object. The time includes finding the server.
        """
        if (why_not := self._why_not(destination, ignore_backoff)) is not None:
            return why_not
        uri = _uri(path, query)
        try:
            content = None if body is None else encode_canonical_json(body, strict=False)
        except CanonicalJsonError as error:
            raise ValueError(f"what is sent to {destination} is not JSON: {error}") from error
        headers = {} if content is None else {"Content-Type": "application/json"}
        if signed:
            headers["Authorization"] = self._authorization(method, uri, destination, content)
        seconds = self._timeout_seconds if timeout_seconds is None else timeout_seconds
        read: Read[JsonObject] = partial(_answer_of, max_bytes=max_bytes)
        answer = await self._within(seconds, destination, method, uri, headers, content, read, retry)
        self.ended[answer.why if isinstance(answer, Failed) else "answered"] += 1
        if not (isinstance(answer, Failed) and answer.why == "timeout" and seconds < PATIENT_SECONDS):
            self._note(destination, answer)
        return answer

    async def download(
        self,
        destination: str,
        path: str,
        read: Read[T],
        *,
        query: Query = (),
        timeout_seconds: float,
        signed: bool = True,
    ) -> T | Failed:
        """Ask for something that is no JSON: `read` gets the response with its headers, whatever its status is.

        It is not called where nobody answers. `timeout_seconds` is for all of it. A status of 500 or more is no failure
        of the server here: that a file is not there yet is told so.
        """
        if (why_not := self._why_not(destination)) is not None:
            return why_not
        uri = _uri(path, query)
        headers = {"Authorization": self._authorization("GET", uri, destination, None)} if signed else {}
        answer = await self._within(timeout_seconds, destination, "GET", uri, headers, None, read, retry=False)
        self.ended[answer.why if isinstance(answer, Failed) else "answered"] += 1
        if not isinstance(answer, Failed) or (answer.status or 500) < 500:
            self._reachability.succeeded(destination)
        elif answer.why == "unreachable":
            self._reachability.failed(destination)
        return answer

    def _why_not(self, destination: str, ignore_backoff: bool = False) -> Failed | None:
        """Why the server is not asked at all."""
        if not self._enabled:
            return Failed("unreachable", text=NOT_FEDERATING)
        if destination == self._own_keys.server_name:
            return Failed("unreachable", text="A server does not ask itself")
        if not (ignore_backoff or self._reachability.may_try(destination)):
            return Failed("backing_off", text=f"{destination} did not answer lately")
        return None

    def _authorization(self, method: str, uri: str, destination: str, content: bytes | None) -> str:
        key, origin = self._own_keys.current, self._own_keys.server_name
        signature = key.sign(signed_bytes(method, uri, origin, destination, content))
        return authorization(Credentials(origin, destination, key.key_id, signature))

    def _note(self, destination: str, answer: JsonObject | Failed) -> None:
        """Tell the book of reachability. Only what means that nobody is there, or nobody well, is a failure."""
        if isinstance(answer, Failed) and (
            answer.why in ("unreachable", "timeout") or (answer.status is not None and answer.status >= 500)
        ):
            self._reachability.failed(destination)
        else:
            self._reachability.succeeded(destination)

    async def _within(
        self,
        seconds: float,
        destination: str,
        method: str,
        uri: str,
        headers: dict[str, str],
        content: bytes | None,
        read: Read[T],
        retry: bool,
    ) -> T | Failed:
        pauses: Sequence[float] = RETRY_PAUSES if retry else ()
        try:
            async with asyncio.timeout(seconds):
                route = await self._discovery.route_to(destination)
                if route is None:
                    return Failed("unreachable", text=f"{destination} is not a server that can be asked")
                answer = await self._by(route, method, uri, headers, content, read)
                for pause in pauses:
                    if not _is_worth_retrying(answer):
                        break
                    await asyncio.sleep(pause)
                    answer = await self._by(route, method, uri, headers, content, read)
                return answer
        except TimeoutError:
            return Failed("timeout", text=f"{destination} took longer than {seconds:g} s")

    async def _by(
        self, route: Route, method: str, uri: str, headers: dict[str, str], content: bytes | None, read: Read[T]
    ) -> T | Failed:
        """Ask at the first target of the route that a connection can be made to."""
        failed = Failed("unreachable", text="The server has no address")
        for target in route.targets:
            host = f"[{target.host}]" if ":" in target.host else target.host
            url = yarl.URL(f"https://{host}:{target.port}{uri}", encoded=True)
            try:
                async with self._http.request(
                    method,
                    url,
                    data=content,
                    headers={**headers, "Host": route.host_header},
                    server_hostname=route.tls_name,
                    allow_redirects=False,
                ) as response:
                    return await read(response)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientSSLError) as error:
                failed = Failed("unreachable", text=f"{target.host}:{target.port} cannot be reached: {_words(error)}")
            except (aiohttp.ClientError, OSError, ValueError) as error:
                if isinstance(error, TimeoutError):
                    raise
                return Failed("unreachable", text=f"{target.host}:{target.port} broke off: {_words(error)}")
        return failed


def _uri(path: str, query: Query) -> str:
    query_text = urlencode(list(query), quote_via=quote, safe="")
    return f"{path}?{query_text}" if query_text else path


def _words(error: Exception) -> str:
    """What went wrong, without what only programmers read."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate does not hold: {getattr(error.certificate_error, 'verify_message', 'not valid')}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error) or "no connection"
    return str(error) or type(error).__name__


def _is_worth_retrying(answer: object) -> bool:
    return isinstance(answer, Failed) and (answer.why == "unreachable" or answer.status in (502, 503, 504))


async def _answer_of(response: aiohttp.ClientResponse, max_bytes: int) -> JsonObject | Failed:
    """What the response says. Raises aiohttp.ClientError where it breaks off."""
    if response.status != 200:
        return await refusal_of(response)
    data = await read_at_most(response, max_bytes)
    if data is None:
        return Failed("bad_answer", 200, text=f"The answer is larger than {max_bytes} bytes, or compressed")
    value = _decoded(data, max_bytes)
    if isinstance(value, list) and len(value) == 2 and value[0] == 200:
        value = value[1]
    if not isinstance(value, dict):
        return Failed("bad_answer", 200, text="The answer is not a JSON object")
    return value


async def refusal_of(response: aiohttp.ClientResponse) -> Failed:
    """What a response says whose status is not 200. Raises aiohttp.ClientError where it breaks off."""
    value = _decoded(await read_at_most(response, MAX_ERROR_BYTES) or b"", MAX_ERROR_BYTES)
    errcode = text = retry_after_ms = None
    if isinstance(value, dict):
        errcode, text, retry_after_ms = value.get("errcode"), value.get("error"), value.get("retry_after_ms")
    if not _is_duration(retry_after_ms):
        seconds = response.headers.get("Retry-After", "")
        retry_after_ms = int(seconds) * 1000 if seconds.isascii() and seconds.isdigit() and len(seconds) < 9 else None
    return Failed(
        "refused",
        response.status,
        errcode if isinstance(errcode, str) else None,
        text if isinstance(text, str) else f"The server answered with status {response.status}",
        retry_after_ms,
        value if isinstance(value, dict) else None,
    )


def _is_duration(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**11


def _decoded(data: bytes, max_bytes: int) -> JsonValue:
    """None for what is not JSON."""
    try:
        return decode_json(data, max_bytes=max_bytes)
    except JsonDecodeError:
        return None
