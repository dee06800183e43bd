"""Delegation: what /.well-known/matrix/server of a host says, and for how long that is believed.

May import aiohttp. Implements the port `Delegations` of discovery.py. Source: Server-Server API, "Resolving server
names", step 3; RFC 9111 for the lifetimes.
"""

from __future__ import annotations

import asyncio
import email.utils
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp
import yarl

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import JsonDecodeError, decode_json
from thingroom_homeserver.federation.connections import read_at_most
from thingroom_homeserver.federation.discovery import split_server_name

TOTAL_SECONDS = 15.0
MAX_BYTES = 50_000
MAX_DEPTH = 20
MAX_REDIRECTS = 5
MAX_LOCATION = 4000
MAX_CACHED = 10_000

DEFAULT_SECONDS = 24 * 3600.0
LONGEST_SECONDS = 48 * 3600.0
SHORTEST_SECONDS = 300.0
NOTHING_SECONDS = 3600.0
"""The host answers, and does not delegate."""
UNREACHED_SECONDS = 60.0
"""The host does not answer: at first; doubled each time up to NOTHING_SECONDS."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class _Known:
    """What a host said. Times are of the monotonic clock. `failures`: in a row, of reaching it."""

    delegate: str | None
    ask_again_at: float
    believed_until: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Answer:
    """`delegate` is None where there is none."""

    delegate: str | None
    seconds: float


class WellKnown:
    """The delegations of hosts, asked for over HTTPS and remembered in memory."""

    def __init__(self, http: aiohttp.ClientSession, clock: Clock) -> None:
        self._http = http
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._asking: dict[str, asyncio.Task[str | None]] = {}

    async def delegate_of(self, host: str) -> str | None:
        """The server name that `host` delegates to, or None. Never raises for what the host does."""
        known = self._known.get(host)
        if known is not None and self._clock.monotonic() < known.ask_again_at:
            self._known.move_to_end(host)
            return known.delegate
        task = self._asking.get(host)
        if task is None:
            task = asyncio.create_task(self._ask(host, known), name=f"well-known of {host}")
            self._asking[host] = task
            task.add_done_callback(lambda _: self._asking.pop(host, None))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Stop asking."""
        tasks = tuple(self._asking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self, host: str, known: _Known | None) -> str | None:
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                answer = await self._fetch(host)
        except (TimeoutError, OSError, ValueError, aiohttp.ClientError):
            answer = None
        now = self._clock.monotonic()
        if answer is not None:
            entry = _Known(answer.delegate, now + answer.seconds, now + LONGEST_SECONDS)
        else:
            failures = 0 if known is None else known.failures
            pause = min(NOTHING_SECONDS, UNREACHED_SECONDS * 2 ** min(failures, 10))
            if known is not None and known.delegate is not None and now < known.believed_until:
                entry = _Known(known.delegate, now + pause, known.believed_until, failures + 1)
            else:
                entry = _Known(None, now + pause, now, failures + 1)
        self._known[host] = entry
        self._known.move_to_end(host)
        while len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)
        return entry.delegate

    async def _fetch(self, host: str) -> _Answer:
        """What the host says. Raises where it cannot be reached."""
        url = yarl.URL.build(scheme="https", host=host, path="/.well-known/matrix/server")
        for _ in range(MAX_REDIRECTS + 1):
            async with self._http.get(url, allow_redirects=False) as response:
                location = response.headers.get("Location")
                if response.status in _REDIRECTS and location is not None:
                    url = url.join(yarl.URL(location[:MAX_LOCATION])).with_fragment(None)
                    if url.scheme != "https" or not url.raw_host or url.raw_user is not None:
                        return _Answer(None, NOTHING_SECONDS)
                    continue
                if response.status >= 500:
                    raise OSError(f"status {response.status}")
                data = await read_at_most(response, MAX_BYTES) if response.status == 200 else None
                delegate = None if data is None else parse_delegation(data)
                if delegate is None:
                    return _Answer(None, NOTHING_SECONDS)
                return _Answer(delegate, lifetime(response.headers, self._clock.now_ms()))
        return _Answer(None, NOTHING_SECONDS)


def parse_delegation(data: bytes) -> str | None:
    """The `m.server` of the file, if it is a server name."""
    try:
        value = decode_json(data, max_depth=MAX_DEPTH, max_bytes=MAX_BYTES)
    except JsonDecodeError:
        return None
    delegate = value.get("m.server") if isinstance(value, dict) else None
    return delegate if isinstance(delegate, str) and split_server_name(delegate) is not None else None


def lifetime(headers: Mapping[str, str], now_ms: int) -> float:
    """For how many seconds an answer with these headers is kept."""
    seconds = DEFAULT_SECONDS
    expires = headers.get("Expires")
    if expires is not None:
        seconds = _seconds_until(expires, now_ms)
    for directive in headers.get("Cache-Control", "").lower().split(","):
        name, _, value = directive.strip().partition("=")
        value = value.strip().strip('"')
        if name in ("no-store", "no-cache"):
            seconds = 0.0
            break
        if name == "max-age" and value.isascii() and value.isdigit():
            seconds = float(value[:12])
    return min(LONGEST_SECONDS, max(SHORTEST_SECONDS, seconds))


def _seconds_until(date: str, now_ms: int) -> float:
    """0.0 for what is not a date: such a one lies in the past (RFC 9111, section 5.3)."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - now_ms / 1000
    except (ValueError, OverflowError, TypeError):
        return 0.0
