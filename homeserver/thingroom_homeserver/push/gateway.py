"""Requests to push gateways, whose URLs users choose: guarded, bounded, and never followed elsewhere.

May import aiohttp. What went wrong is a value. Source: Push Gateway API, POST /notify.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from thingroom_homeserver.core.canonical_json import encode_json

MAX_ANSWER_BYTES = 65_536
WITHIN_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Accepted:
    """The gateway took it. `rejected`: pushkeys that are not valid any more."""

    rejected: frozenset[str]


@dataclass(frozen=True, slots=True)
class Failed:
    """The gateway could not be reached or did not take it: worth another try."""

    reason: str


class PushGateway:
    """Talks to every push gateway over one pool of connections."""

    def __init__(self, http: aiohttp.ClientSession, within_seconds: float = WITHIN_SECONDS) -> None:
        """`http` connects to permitted addresses only (outgoing/guard.py)."""
        self._http = http
        self._timeout = aiohttp.ClientTimeout(total=within_seconds)

    async def notify(self, url: str, notification: dict[str, Any]) -> Accepted | Failed:
        body = encode_json({"notification": notification})
        headers = {"Content-Type": "application/json"}
        try:
            async with self._http.post(
                url, data=body, headers=headers, allow_redirects=False, timeout=self._timeout
            ) as response:
                answer = await response.content.read(MAX_ANSWER_BYTES)
                if not 200 <= response.status < 300:
                    return Failed(f"status {response.status}")
        except TimeoutError:
            return Failed("no answer in time")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Failed(str(error) or type(error).__name__)
        return Accepted(_rejected(answer))


def _rejected(answer: bytes) -> frozenset[str]:
    """The rejected pushkeys of an answer; none if it cannot be read."""
    try:
        value = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return frozenset()
    rejected = value.get("rejected") if isinstance(value, dict) else None
    return frozenset(key for key in rejected if isinstance(key, str)) if isinstance(rejected, list) else frozenset()
