"""Requests to application services, under their hs_token.

May import aiohttp and accounts. What went wrong is a value: NoAnswer, or an Answered with its status.
Source: application service API, "Homeserver -> Application Service API".
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from thingroom_homeserver.accounts.appservices import AppService

MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Answered:
    """The application service answered. `body` is cut off at MAX_ANSWER_BYTES."""

    status: int
    body: bytes

    @property
    def is_ok(self) -> bool:
        return 200 <= self.status < 300


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
        return await self._request(appservice, "PUT", f"/_matrix/app/v1/transactions/{number}", body, within)

    async def ping(self, appservice: AppService, transaction_id: str | None, within: float) -> Answered | NoAnswer:
        body = {} if transaction_id is None else {"transaction_id": transaction_id}
        return await self._request(appservice, "POST", "/_matrix/app/v1/ping", orjson.dumps(body), within)

    async def query_user(self, appservice: AppService, user_id: str, within: float) -> Answered | NoAnswer:
        return await self._request(appservice, "GET", f"/_matrix/app/v1/users/{quote(user_id, safe='')}", None, within)

    async def query_alias(self, appservice: AppService, alias: str, within: float) -> Answered | NoAnswer:
        return await self._request(appservice, "GET", f"/_matrix/app/v1/rooms/{quote(alias, safe='')}", None, within)

    async def _request(
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
                return Answered(response.status, await response.content.read(MAX_ANSWER_BYTES))
        except TimeoutError:
            return NoAnswer(f"no answer within {within:.0f} s", timed_out=True)
        except (aiohttp.ClientError, OSError) as error:
            return NoAnswer(str(error) or type(error).__name__, timed_out=False)
