"""What the homeserver calls: transactions, ping, queries (Application Service API).

Answers a transaction once its id, and what in it is for the bot, are on disk. May import aiohttp, thingroom_common,
devices, bot.inbox, storage. app.py starts it; bot/worker.py answers what was taken in.
"""

from __future__ import annotations

import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web

from thingroom_common.database import Database, Transaction
from thingroom_gateway.bot.inbox import pick
from thingroom_gateway.counters import Counters
from thingroom_gateway.devices import Registry
from thingroom_gateway.registration import GHOST_PREFIX
from thingroom_gateway.rooms import Home
from thingroom_gateway.storage import bot as store
from thingroom_gateway.storage import live

logger = logging.getLogger(__name__)

MAX_BODY: Final = 16_000_000
# Objects and arrays in it: a hundred events of 65,536 bytes have far fewer.
MAX_BRACKETS: Final = 1_000_000
KEEP_TRANSACTIONS: Final = 1000
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AppserviceHttp:
    """The HTTP server for the homeserver; `port` is the real one after `open`."""

    def __init__(
        self,
        host: str,
        port: int,
        hs_token: str,
        database: Database,
        registry: Registry,
        counters: Counters,
        home: Home,
        now_ms: Callable[[], int],
        room_changed: Callable[[str], None],
        kick: Callable[[], None],
    ) -> None:
        """`room_changed` is told of rooms whose members or levels changed, `kick` that the inbox has something new."""
        self._host = host
        self.port = port
        self._hs_token = hs_token
        self._database = database
        self._registry = registry
        self._counters = counters
        self._home = home
        self._now_ms = now_ms
        self._room_changed = room_changed
        self._kick = kick
        self._runner: web.AppRunner | None = None
        self.transactions = 0
        self.last_transaction_at = 0

    async def open(self) -> None:
        """Listen. Raises OSError."""
        app = web.Application(middlewares=[self._authorised], client_max_size=MAX_BODY)
        for prefix in ("/_matrix/app/v1", ""):
            app.router.add_put(prefix + "/transactions/{txn}", self._transaction)
            app.router.add_get(prefix + "/users/{user}", self._user)
            app.router.add_get(prefix + "/rooms/{alias}", self._alias)
        app.router.add_post("/_matrix/app/v1/ping", self._ping)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    @web.middleware
    async def _authorised(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self._hs_token}".encode()):
            self._counters.add("appservice.wrong_token")
            return _error(403, "M_FORBIDDEN", "Wrong or missing homeserver token.")
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return _error(404, "M_UNRECOGNIZED", "There is no such endpoint.")
        except web.HTTPMethodNotAllowed:
            return _error(405, "M_UNRECOGNIZED", "The endpoint has no such method.")
        except web.HTTPRequestEntityTooLarge:
            self._counters.add("appservice.too_large")
            return _error(413, "M_TOO_LARGE", "The transaction is too large.")

    async def _transaction(self, request: web.Request) -> web.StreamResponse:
        txn_id, now = request.match_info["txn"][:255], self._now_ms()
        body = object_of(await request.read())
        if body is None:
            # As good as empty: refused, it would be sent for ever.
            logger.warning("a transaction of the homeserver is no JSON")
            self._counters.add("appservice.not_json")
        picked = pick(body, self._home.bot, f"@{GHOST_PREFIX}")
        for room_id in picked.changed:
            self._room_changed(room_id)

        def write(transaction: Transaction) -> store.Taken | None:
            live.redacted(transaction, picked.redacted)
            return store.take_in(transaction, txn_id, picked.heard, now, KEEP_TRANSACTIONS)

        taken = await self._database.write(write)
        if taken is None:
            self._counters.add("appservice.repeated")
            return web.json_response({})
        self._counters.add("appservice.events", picked.events)
        for name, number in (("odd", picked.odd), ("beyond", picked.beyond), ("crowded", taken.crowded)):
            if number:
                self._counters.add(f"appservice.events_{name}", number)
        self.transactions += 1
        self.last_transaction_at = now
        if taken.new:
            self._kick()
        return web.json_response({})

    async def _ping(self, _request: web.Request) -> web.StreamResponse:
        return web.json_response({})

    async def _user(self, request: web.Request) -> web.StreamResponse:
        user = request.match_info["user"]
        if any(self._home.ghost(device) == user for device in self._registry):
            return web.json_response({})
        return _error(404, "M_NOT_FOUND", "There is no such device.")

    async def _alias(self, _request: web.Request) -> web.StreamResponse:
        return _error(404, "M_NOT_FOUND", "Rooms are made when a device needs one.")


def object_of(data: bytes) -> object:
    """The body's JSON, None where it is none, or is more than a transaction of events can be. Pure."""
    if data.count(b"{") + data.count(b"[") > MAX_BRACKETS:
        return None
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        return None
    except ValueError:
        pass
    try:
        # One event with half a surrogate pair, or a number beyond all numbers, is no reason to pass over the others.
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def _error(status: int, errcode: str, error: str) -> web.Response:
    return web.json_response({"errcode": errcode, "error": error}, status=status)
