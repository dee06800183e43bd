"""Requests to application services, under their hs_token.

May import aiohttp and accounts. What went wrong is a value: NoAnswer, or an Answered with its status. Application
services from before the paths had versions are asked again under the old path.
Source: application service API, "Homeserver -> Application Service API".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from thingroom_homeserver.accounts.appservices import AppService

MAX_ANSWER_BYTES = 1_000_000

Fields = Sequence[tuple[str, str]]

_VERSION = "/_matrix/app/v1"
_UNSTABLE = "/_matrix/app/unstable"


@dataclass(frozen=True, slots=True)
class Answered:
    """The application service answered. `body` is cut off at MAX_ANSWER_BYTES."""

    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300

    @property
    def has_no_such_path(self) -> bool:
        """Whether it does not know the path, which is not the same as not knowing what was asked for."""
        if self.status not in (404, 405, 501):
            return False
        try:
            body = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return True
        return isinstance(body, dict) and body.get("errcode") == "M_UNRECOGNIZED"


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """It could not be reached, or did not answer in time."""

    reason: str
    timed_out: bool


class AppServiceClient:
    """Talks to every application service over one pool of connections. `within`: seconds for the whole exchange."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def put_transaction(
        self, appservice: AppService, number: int, body: bytes, within: float
    ) -> Answered | NoAnswer:
        return await self._request(appservice, "PUT", f"/_matrix/app/v1/transactions/{number}", body, within, "")

    async def ping(self, appservice: AppService, transaction_id: str | None, within: float) -> Answered | NoAnswer:
        body = {} if transaction_id is None else {"transaction_id": transaction_id}
        return await self._send(appservice, "POST", "/_matrix/app/v1/ping", orjson.dumps(body), within)

    async def query_user(self, appservice: AppService, user_id: str, within: float) -> Answered | NoAnswer:
        return await self._request(appservice, "GET", f"/_matrix/app/v1/users/{_part(user_id)}", None, within, "")

    async def query_alias(self, appservice: AppService, alias: str, within: float) -> Answered | NoAnswer:
        return await self._request(appservice, "GET", f"/_matrix/app/v1/rooms/{_part(alias)}", None, within, "")

    async def protocol(self, appservice: AppService, protocol: str, within: float) -> Answered | NoAnswer:
        path = f"/_matrix/app/v1/thirdparty/protocol/{_part(protocol)}"
        return await self._request(appservice, "GET", path, None, within, _UNSTABLE)

    async def locations(
        self, appservice: AppService, protocol: str | None, fields: Fields, within: float
    ) -> Answered | NoAnswer:
        """Portal rooms: of a protocol by its fields, or (None) by the field `alias`."""
        path = "/_matrix/app/v1/thirdparty/location"
        if protocol is not None:
            path = f"/_matrix/app/v1/thirdparty/location/{_part(protocol)}"
        return await self._request(appservice, "GET", f"{path}?{urlencode(fields)}", None, within, _UNSTABLE)

    async def users(
        self, appservice: AppService, protocol: str | None, fields: Fields, within: float
    ) -> Answered | NoAnswer:
        """Ghosts: of a protocol by its fields, or (None) by the field `userid`."""
        path = "/_matrix/app/v1/thirdparty/user"
        if protocol is not None:
            path = f"/_matrix/app/v1/thirdparty/user/{_part(protocol)}"
        return await self._request(appservice, "GET", f"{path}?{urlencode(fields)}", None, within, _UNSTABLE)

    async def _request(
        self, appservice: AppService, method: str, path: str, body: bytes | None, within: float, old: str
    ) -> Answered | NoAnswer:
        """The same path is tried with `old` in place of its version if there is none such."""
        answer = await self._send(appservice, method, path, body, within)
        if isinstance(answer, Answered) and answer.has_no_such_path:
            return await self._send(appservice, method, old + path.removeprefix(_VERSION), body, within)
        return answer

    async def _send(
        self, appservice: AppService, method: str, path: str, body: bytes | None, within: float
    ) -> Answered | NoAnswer:
        headers = {"Authorization": f"Bearer {appservice.hs_token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self._http.request(
                method,
                URL(f"{appservice.url}{path}", encoded=True),
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=within),
            ) as response:
                return Answered(response.status, await _read(response))
        except TimeoutError:
            return NoAnswer(f"no answer within {within:.0f} s", timed_out=True)
        except (aiohttp.ClientError, OSError) as error:
            return NoAnswer(str(error) or type(error).__name__, timed_out=False)


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """The body's first MAX_ANSWER_BYTES."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) >= MAX_ANSWER_BYTES:
            break
    return bytes(body[:MAX_ANSWER_BYTES])


def _part(identifier: str) -> str:
    return quote(identifier, safe="")
