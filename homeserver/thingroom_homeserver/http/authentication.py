"""From an access token to a Requester, out of memory for every token but a new one.

May import storage and the HTTP types. The frame calls it for each request; accounts.py tells it when sessions end.
Tokens are looked up by their SHA-256 digest, so comparing takes the same time whatever is wrong with them.
Source: client-server API "Using access tokens"; application service API "Identity assertion".
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from thingroom_common.database import Database
from thingroom_homeserver.accounts.appservices import AppService, AppServices
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import MAX_INTEGER
from thingroom_homeserver.http.endpoint import Auth, Endpoint
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.http.requester import Requester
from thingroom_homeserver.storage import accounts as storage
from thingroom_homeserver.storage.refresh_tokens import note_first_use

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request

MAX_CACHED = 20_000
SEEN_EVERY_MS = 5 * 60 * 1000


class Authentication:
    """The sessions in use, in memory."""

    def __init__(
        self, database: Database, appservices: AppServices, clock: Clock, admin_users: Collection[str] = ()
    ) -> None:
        self._admin_users = frozenset(admin_users)
        self._noting: set[asyncio.Task[None]] = set()
        self._database = database
        self._appservices = appservices
        self._clock = clock
        self._sessions: dict[bytes, Requester] = {}
        self._ghosts: dict[tuple[str, str, str | None], Requester] = {}
        self._seen: dict[tuple[str, str], tuple[int, str]] = {}
        self._unsaved: set[tuple[str, str]] = set()

    def requester_of(self, request: Request, endpoint: Endpoint) -> Requester | None:
        """Who sends `request`; None only where the endpoint's auth is optional and no token came.

        Raises MatrixError: M_MISSING_TOKEN, M_UNKNOWN_TOKEN, M_FORBIDDEN, M_UNKNOWN_DEVICE, M_INVALID_PARAM.
        """
        token = bearer_token(request)
        if token is None:
            if endpoint.auth in (Auth.OPTIONAL, Auth.APPSERVICE_OR_NONE):
                return None
            raise MatrixError(401, "M_MISSING_TOKEN", "Missing access token")
        digest = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        requester = self._sessions.get(digest)
        if requester is None:
            appservice = self._appservices.with_token(digest)
            if appservice is not None:
                return self._as_appservice(appservice, request, endpoint)
            if endpoint.auth is Auth.APPSERVICE_OR_NONE:
                return None
            requester = self._load(digest)
        if endpoint.auth is Auth.APPSERVICE_ONLY:
            raise MatrixError(403, "M_FORBIDDEN", "Only application services may do this")
        if endpoint.auth is Auth.APPSERVICE_OR_NONE:
            return None
        if requester.expires_ms is not None and requester.expires_ms <= self._clock.now_ms():
            raise MatrixError(401, "M_UNKNOWN_TOKEN", "The access token has expired", soft_logout=True)
        self._note_seen(requester, request.address)
        return requester

    def holder_of(self, token: str) -> Requester | None:
        """Whose access token that is, where it comes in a body; None if it is not good."""
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        row = self._database.read(lambda connection: storage.find_session(connection, digest))
        if row is None or row["locked"] or (row["expires_ts"] or MAX_INTEGER) <= self._clock.now_ms():
            return None
        return Requester(row["user_id"], row["device_id"], is_guest=bool(row["is_guest"]))

    def forget_devices(self, user_id: str, device_ids: Collection[str]) -> None:
        """Sessions of these devices ended."""
        self._drop(lambda requester: requester.user_id == user_id and requester.device_id in device_ids)

    def forget_user(self, user_id: str) -> None:
        """All sessions of the user ended."""
        self._drop(lambda requester: requester.user_id == user_id)

    def last_seen(self, user_id: str, device_id: str) -> tuple[int, str] | None:
        """When (ms) and from which address the device was last seen by this process."""
        return self._seen.get((user_id, device_id))

    async def save_last_seen(self) -> None:
        """Write down what was seen since the last call."""
        await asyncio.gather(*self._noting)
        if not self._unsaved:
            return
        rows = [(*self._seen[key], *key) for key in self._unsaved]
        self._unsaved.clear()
        if len(self._seen) > MAX_CACHED:
            self._seen.clear()
        await self._database.write(lambda transaction: storage.set_last_seen(transaction, rows))

    def _load(self, digest: bytes) -> Requester:
        row = self._database.read(lambda connection: storage.find_session(connection, digest))
        if row is None:
            raise MatrixError(401, "M_UNKNOWN_TOKEN", "Unknown access token", soft_logout=False)
        if row["replaces"] is not None:
            task = asyncio.create_task(self._note_first_use(digest), name="first use of a token")
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)
        requester = Requester(
            row["user_id"],
            row["device_id"],
            is_guest=bool(row["is_guest"]),
            is_admin=bool(row["is_admin"]) or row["user_id"] in self._admin_users,
            token_digest=digest,
            expires_ms=row["expires_ts"],
            is_locked=bool(row["locked"]),
            is_suspended=bool(row["suspended"]),
        )
        if len(self._sessions) >= MAX_CACHED:
            self._sessions.clear()
        self._sessions[digest] = requester
        return requester

    async def _note_first_use(self, digest: bytes) -> None:
        now_ms = self._clock.now_ms()
        gone = await self._database.write(lambda transaction: note_first_use(transaction, digest, now_ms))
        for old in gone:
            self._sessions.pop(old, None)

    def _as_appservice(self, appservice: AppService, request: Request, endpoint: Endpoint) -> Requester:
        self._appservices.heard_from(appservice.id)
        user_id = request.query.get("user_id") or appservice.sender
        if endpoint.auth is Auth.APPSERVICE_OR_NONE:
            # It registers or logs in the ghost that its library names on every request: that one need not be there yet.
            return Requester(appservice.sender, appservice=appservice)
        device_id = request.query.get("device_id") or request.query.get("org.matrix.msc3202.device_id") or None
        requester = self._ghosts.get((appservice.id, user_id, device_id))
        if requester is None:
            requester = self._load_ghost(appservice, user_id, device_id)
        timestamp = request.query.get("ts") if endpoint.ts else None
        if timestamp is None:
            return requester
        return replace(requester, timestamp_override=_timestamp(timestamp))

    def _load_ghost(self, appservice: AppService, user_id: str, device_id: str | None) -> Requester:
        if not appservice.covers_user(user_id):
            raise MatrixError(403, "M_FORBIDDEN", "The application service cannot act as this user")
        account = self._database.read(lambda connection: storage.find_account(connection, user_id))
        if account is None or account["deactivated"]:
            raise MatrixError(403, "M_FORBIDDEN", "The application service has not registered this user")
        if device_id is not None:
            device = self._database.read(lambda connection: storage.find_device(connection, user_id, device_id))
            if device is None:
                raise MatrixError(400, "M_UNKNOWN_DEVICE", "The device is not one of this user's")
        requester = Requester(
            user_id,
            device_id,
            appservice=appservice,
            is_locked=bool(account["locked"]),
            is_suspended=bool(account["suspended"]),
        )
        if len(self._ghosts) >= MAX_CACHED:
            self._ghosts.clear()
        self._ghosts[appservice.id, user_id, device_id] = requester
        return requester

    def _note_seen(self, requester: Requester, address: str) -> None:
        assert requester.device_id is not None
        key = (requester.user_id, requester.device_id)
        now_ms = self._clock.now_ms()
        seen = self._seen.get(key)
        if seen is None or now_ms - seen[0] >= SEEN_EVERY_MS or seen[1] != address:
            self._seen[key] = (now_ms, address)
            self._unsaved.add(key)

    def _drop(self, ended: Callable[[Requester], bool]) -> None:
        self._sessions = {digest: of for digest, of in self._sessions.items() if not ended(of)}
        self._ghosts = {key: of for key, of in self._ghosts.items() if not ended(of)}


def bearer_token(request: Request) -> str | None:
    """The token of the Authorization header; else, where the configuration allows it, of ?access_token=."""
    scheme, _, token = request.http.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return (request.query.get("access_token") or None) if request.token_in_query else None


def required_appservice(request: Request) -> AppService:
    """The application service that asks, on an endpoint with Auth.APPSERVICE_OR_NONE.

    Raises MatrixError: M_MISSING_TOKEN, M_UNKNOWN_TOKEN.
    """
    requester = request.requester_or_none
    if requester is not None and requester.appservice is not None:
        return requester.appservice
    if bearer_token(request) is None:
        raise MatrixError(401, "M_MISSING_TOKEN", "Missing access token")
    raise MatrixError(401, "M_UNKNOWN_TOKEN", "The token is not an application service's")


def refuse_to_log_in(appservice: AppService) -> None:
    """Raises MatrixError M_APPSERVICE_LOGIN_UNSUPPORTED for one that manages its users' devices without logging in."""
    if appservice.manages_devices:
        text = "The application service's registration says io.element.msc4190: it cannot log in as its users"
        raise MatrixError(400, "M_APPSERVICE_LOGIN_UNSUPPORTED", text)


def _timestamp(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and int(text) <= MAX_INTEGER):
        raise MatrixError(400, "M_INVALID_PARAM", "ts must be a time in milliseconds")
    return int(text)
