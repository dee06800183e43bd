"""The CAS protocol: where to send the browser, and what the server says of the ticket it comes back with.

May import aiohttp and the standard library's expat. Called by client_api/single_sign_on.py.
Source: CAS Protocol 3.0 Specification, sections 2.1, 2.2 and 2.5 (https://apereo.github.io/cas).
"""

from __future__ import annotations

import logging
from urllib.parse import urlencode
from xml.parsers import expat

import aiohttp

logger = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 65_536
ANSWER_WITHIN_SECONDS = 10.0
_NAMESPACE = "http://www.yale.edu/tp/cas"


class CasServer:
    """A CAS server."""

    def __init__(self, server_url: str, http: aiohttp.ClientSession) -> None:
        self._url = server_url.rstrip("/")
        self._http = http

    def login_url(self, service: str) -> str:
        """Where the browser goes; it comes back to `service` with ?ticket=."""
        return f"{self._url}/login?{urlencode({'service': service})}"

    async def user_of(self, service: str, ticket: str) -> str | None:
        """The name that the ticket proves, None if it proves nothing or the server does not answer."""
        url = f"{self._url}/serviceValidate?{urlencode({'service': service, 'ticket': ticket})}"
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_SECONDS)
        try:
            async with self._http.get(url, timeout=timeout, allow_redirects=False) as response:
                data = await response.content.read(MAX_ANSWER_BYTES + 1)
                while len(data) <= MAX_ANSWER_BYTES and (more := await response.content.read(MAX_ANSWER_BYTES)):
                    data += more
                if response.status != 200:
                    logger.warning("the CAS server answers %s", response.status)
                    return None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            logger.warning("the CAS server does not answer: %s", error)
            return None
        return parse_service_response(data)


class _Refused(Exception):
    """The document is not one we read."""


def parse_service_response(data: bytes) -> str | None:
    """The user of a <cas:serviceResponse> with <cas:authenticationSuccess>; None for anything else.

    Documents with a DOCTYPE are refused: with it go entities, and what they can expand to.
    """
    if len(data) > MAX_ANSWER_BYTES:
        return None
    path: list[str] = []
    users: list[str] = []
    wanted = [f"{_NAMESPACE} {name}" for name in ("serviceResponse", "authenticationSuccess", "user")]

    def start(name: str, _: dict[str, str]) -> None:
        path.append(name)
        if len(path) > 50:
            raise _Refused
        if path == wanted:
            users.append("")

    def end(_: str) -> None:
        path.pop()

    def text(part: str) -> None:
        if path == wanted:
            users[-1] += part

    def doctype(*_: object) -> None:
        raise _Refused

    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler, parser.EndElementHandler, parser.CharacterDataHandler = start, end, text
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, _Refused, ValueError, LookupError):
        return None
    return users[0].strip() or None if len(users) == 1 else None
