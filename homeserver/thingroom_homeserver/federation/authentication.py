"""Who sends a request to the federation API: the Authorization header, the key it names, and the signature.

May import core, http and this package. http/frame.py asks for endpoints with Auth.SERVER, first for the header, which
costs nothing, and with the body read for the origin. Source: Server-Server API, "Request Authentication".
"""

from __future__ import annotations

from collections.abc import Callable

from thingroom_homeserver.core.canonical_json import CanonicalJsonError, encode_canonical_json
from thingroom_homeserver.core.identifiers import is_valid_server_name
from thingroom_homeserver.core.signing import decode_base64, verify_bytes
from thingroom_homeserver.federation.key_document import is_key_id
from thingroom_homeserver.federation.server_keys import ServerKeys
from thingroom_homeserver.federation.x_matrix import Credentials, parse_authorization, signed_bytes
from thingroom_homeserver.http.endpoint import Request
from thingroom_homeserver.http.errors import MatrixError, limit_exceeded
from thingroom_homeserver.http.rate_limit import RateLimiter

MAX_HEADERS = 5
"""A server may send one header for each of its keys."""


class ServerAuthentication:
    """Checks X-Matrix headers."""

    def __init__(self, server_name: str, keys: ServerKeys, rate_limiter: RateLimiter) -> None:
        self._server_name = server_name
        self._keys = keys
        self._rate_limiter = rate_limiter
        self._on_heard: list[Callable[[str], None]] = []

    def on_heard_from(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with the name of each server that an authentic request came from. It must be quick."""
        self._on_heard.append(callback)

    def credentials_of(self, request: Request) -> list[Credentials]:
        """What the headers claim, before anything is looked up. Raises MatrixError 401."""
        headers = request.http.headers.getall("Authorization", [])
        found = [parsed for header in headers[:MAX_HEADERS] if (parsed := parse_authorization(header)) is not None]
        if not found:
            raise _unauthorized("The request needs an Authorization header of the scheme X-Matrix")
        for credentials in found:
            if credentials.destination not in (None, self._server_name):
                raise _unauthorized("The request is meant for another server")
            if not is_valid_server_name(credentials.origin) or credentials.origin != found[0].origin:
                raise _unauthorized("The origin is not a server name")
        if found[0].origin == self._server_name:
            raise _unauthorized("The origin is this server")
        return found

    async def origin_of(self, request: Request, claimed: list[Credentials]) -> str:
        """The server whose signature the request bears.

        Raises MatrixError: 401, 400 for a body that is no JSON, 429 for an address that names too many unknown keys:
        looking for one means asking other servers.
        """
        for credentials in claimed:
            signature, key = decode_base64(credentials.signature), await self._key_of(request, credentials)
            if signature is None or key is None:
                continue
            if verify_bytes(self._signed(request, credentials.origin), signature, key):
                for callback in self._on_heard:
                    callback(credentials.origin)
                return credentials.origin
        raise _unauthorized(f"No valid signature of {claimed[0].origin}")

    async def _key_of(self, request: Request, credentials: Credentials) -> bytes | None:
        if not is_key_id(credentials.key_id):
            return None
        key = self._keys.known_request_key(credentials.origin, credentials.key_id)
        if key is not None:
            return key
        wait = self._rate_limiter.take("unknown_server", request.address)
        if wait:
            raise limit_exceeded(wait)
        return await self._keys.request_key(credentials.origin, credentials.key_id)

    def _signed(self, request: Request, origin: str) -> bytes:
        try:
            content = encode_canonical_json(request.body, strict=False) if request.raw_body else None
            return signed_bytes(request.method, request.http.raw_path, origin, self._server_name, content)
        except CanonicalJsonError as error:
            raise MatrixError(400, "M_BAD_JSON", f"The request cannot be signed: {error}") from None


def _unauthorized(text: str) -> MatrixError:
    return MatrixError(401, "M_UNAUTHORIZED", text)
