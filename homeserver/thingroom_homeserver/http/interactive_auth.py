"""User-Interactive Authentication: the 401 that asks for proof before something weighty is done.

May import the HTTP types and accounts. Endpoints call `challenge` or `authenticate`; a Response is to be sent as it is.
A session counts for one method, path and user; once a stage of an account's own request is done, for one body too;
and for one request only: it is gone when that goes through.
Source: client-server API, "User-Interactive Authentication API".
"""

from __future__ import annotations

import hashlib
import itertools
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.addresses import RESET, Addresses, Verified
from thingroom_homeserver.accounts.external_ids import ExternalIds
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.accounts.registration_tokens import RegistrationTokens
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.http.endpoint import Response, json_response
from thingroom_homeserver.http.errors import MatrixError, error_for, limit_exceeded
from thingroom_homeserver.http.logins import Logins
from thingroom_homeserver.http.rate_limit import RateLimiter

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request

MAX_SESSIONS = 1000
EXPIRES_AFTER_SECONDS = 15 * 60

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"  # noqa: S105 - the name of a stage
REGISTRATION_TOKEN = "m.login.registration_token"  # noqa: S105 - the name of a stage
EMAIL = "m.login.email.identity"
TERMS = "m.login.terms"
SINGLE_SIGN_ON = "m.login.sso"


@dataclass(slots=True)
class _UiaSession:
    """`purpose`: the method, path and user it was opened for; it counts for nothing else.

    `stages`, `params` and `email_purpose` are what was asked for last; `completed`: the stages that are done, each with
    what it proved.
    """

    purpose: tuple[str, ...]
    started: float
    body_digest: bytes
    stages: frozenset[str] = frozenset()
    params: dict[str, Any] = field(default_factory=dict)
    email_purpose: str = RESET
    completed: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Proof:
    """What was proved: a value for each stage (the registration token, the verified address; else None)."""

    completed: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A stage that a session asks for: whose account it is about ("": a new one), what is to be done, and what of it.

    `purpose`: what an address is verified for. `done`: it was done already.
    """

    user_id: str
    request: str
    params: Any
    purpose: str
    done: bool


class InteractiveAuth:
    """The sessions under way, oldest first; the oldest goes when there are too many."""

    def __init__(
        self,
        accounts: Accounts,
        logins: Logins,
        clock: Clock,
        limits: RateLimiter,
        registration_tokens: RegistrationTokens,
        addresses: Addresses,
        external_ids: ExternalIds,
    ) -> None:
        self._accounts = accounts
        self._logins = logins
        self._clock = clock
        self._limits = limits
        self._registration_tokens = registration_tokens
        self._addresses = addresses
        self._external_ids = external_ids
        self._sessions: dict[str, _UiaSession] = {}

    async def challenge(self, request: Request, stages: tuple[str, ...], user_id: str = "") -> Response | None:
        """None once every stage is done for this request, else the 401 to answer with. `user_id` owns the password.

        Whoever signs in through single sign-on may use that in the place of a password.
        Raises MatrixError: M_LIMIT_EXCEEDED after too many wrong passwords, M_BAD_JSON.
        """
        flows = self.own_flows(user_id) if stages == (PASSWORD,) else (stages,)
        outcome = await self.authenticate(request, flows, user_id)
        return None if isinstance(outcome, Proof) else outcome

    def own_flows(self, user_id: str) -> tuple[tuple[str, ...], ...]:
        """How the owner of an account can prove that it is them."""
        if not self._external_ids.enabled or not self._external_ids.has_any(user_id):
            return ((PASSWORD,),)
        account = self._accounts.find(user_id)
        has_password = account is not None and account["password_hash"] is not None
        return ((PASSWORD,), (SINGLE_SIGN_ON,)) if has_password else ((SINGLE_SIGN_ON,),)

    async def authenticate(
        self,
        request: Request,
        flows: Sequence[tuple[str, ...]],
        user_id: str = "",
        params: dict[str, Any] | None = None,
        *,
        email_purpose: str = RESET,
    ) -> Response | Proof:
        """Proof once all stages of one of the `flows` are done for this request, else the 401 to answer with.

        `params` go into the 401; `email_purpose` is what an address must have been verified for.
        Raises MatrixError: M_LIMIT_EXCEEDED, M_BAD_JSON.
        """
        auth = request.body_field("auth", dict, {}) if request.optional_body else {}
        purpose = (request.method, request.http.path, user_id)
        digest = _digest_without_auth(request) if user_id else b""
        name, session = self._session_for(auth.get("session"), purpose, digest)
        session.stages, session.params = frozenset(itertools.chain.from_iterable(flows)), params or {}
        session.email_purpose = email_purpose
        stage = auth.get("type")
        if stage is not None and not isinstance(stage, str):
            raise MatrixError(400, "M_BAD_JSON", "auth.type must be a string")
        failed: MatrixError | None = None
        if stage is not None and stage not in session.completed:
            if not any(stage in flow for flow in flows):
                failed = MatrixError(401, "M_UNRECOGNIZED", "This stage is not asked for here")
            else:
                failed = await self._attempt(session, stage, auth, user_id, request.address, email_purpose)
        for flow in flows:
            if set(flow) <= set(session.completed) and self._sessions.pop(name, None) is not None:
                return Proof(session.completed)
        answer: dict[str, Any] = {
            "flows": [{"stages": list(flow)} for flow in flows],
            "params": params or {},
            "session": name,
        }
        if session.completed:
            answer["completed"] = list(session.completed)
        if failed is not None:
            answer |= failed.body()
        return json_response(answer, 401)

    def complete(self, name: str, stage: str, user_id: str) -> bool:
        """A stage that is done in the browser. False if the session is not the user's."""
        session = self._live(name)
        if session is None or session.purpose[2] != user_id:
            return False
        session.completed[stage] = None
        return True

    def asked(self, name: str, stage: str) -> Asked | None:
        """What a page has to say of a stage; None if the session does not ask for it (any more)."""
        session = self._live(name)
        if session is None or stage not in session.stages:
            return None
        method, path, user_id = session.purpose
        return Asked(
            user_id, f"{method} {path}", session.params.get(stage), session.email_purpose, stage in session.completed
        )

    async def attempt(self, name: str, stage: str, auth: dict[str, Any], address: str) -> MatrixError | None:
        """Do a stage from a page, with `auth` as a client would send it; None when it succeeds.

        Raises MatrixError M_LIMIT_EXCEEDED.
        """
        session = self._live(name)
        if session is None or stage not in session.stages:
            return MatrixError(401, "M_UNRECOGNIZED", "This has expired; go back to your client and start again")
        return await self._attempt(session, stage, auth, session.purpose[2], address, session.email_purpose)

    def describe(self, name: str) -> tuple[str, ...] | None:
        """The method, path and user that a session is for."""
        session = self._live(name)
        return None if session is None else session.purpose

    def _live(self, name: object) -> _UiaSession | None:
        session = self._sessions.get(name) if isinstance(name, str) else None
        if session is None or self._clock.monotonic() - session.started >= EXPIRES_AFTER_SECONDS:
            return None
        return session

    def _session_for(self, name: object, purpose: tuple[str, ...], digest: bytes) -> tuple[str, _UiaSession]:
        known = self._live(name)
        if known is not None and known.purpose == purpose and isinstance(name, str):
            if not known.completed:
                known.body_digest = digest
            if known.body_digest == digest:
                return name, known
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        fresh = secrets.token_urlsafe(18)
        self._sessions[fresh] = _UiaSession(purpose, self._clock.monotonic(), digest)
        return fresh, self._sessions[fresh]

    async def _attempt(
        self,
        session: _UiaSession,
        stage: str,
        auth: dict[str, Any],
        user_id: str,
        address: str,
        email_purpose: str,
    ) -> MatrixError | None:
        """None when the stage succeeds; it is marked then."""
        proved: Any = None
        if stage == PASSWORD:
            failed = await self._try_password(auth, user_id, address)
            if failed is not None:
                return failed
        elif stage == REGISTRATION_TOKEN:
            proved = auth.get("token")
            wait = self._limits.take("registration_token", address)
            if wait:
                raise limit_exceeded(wait)
            if not isinstance(proved, str):
                return MatrixError(401, "M_MISSING_PARAM", "Missing parameter: token")
            if not self._registration_tokens.is_good(proved):
                return MatrixError(401, "M_FORBIDDEN", "The registration token is not valid")
        elif stage == EMAIL:
            proved = self._verified_address(auth, email_purpose)
            if proved is None:
                return MatrixError(401, "M_UNAUTHORIZED", "The address has not been verified yet")
        elif stage == SINGLE_SIGN_ON:
            return MatrixError(401, "M_UNRECOGNIZED", "This stage is done in the browser")
        session.completed[stage] = proved
        return None

    async def _try_password(self, auth: dict[str, Any], user_id: str, address: str) -> MatrixError | None:
        password = auth.get("password")
        if not isinstance(password, str):
            return MatrixError(401, "M_MISSING_PARAM", "Missing parameter: password")
        if self._named_user(auth) not in (None, user_id):
            return MatrixError(401, "M_FORBIDDEN", "This is another user's password to give")
        outcome = await self._logins.check(user_id, password, address)
        return error_for(outcome) if isinstance(outcome, Refused) else None

    def _verified_address(self, auth: dict[str, Any], purpose: str) -> Verified | None:
        credentials = auth.get("threepid_creds") or auth.get("threepidCreds")
        if not isinstance(credentials, dict):
            return None
        sid, client_secret = credentials.get("sid"), credentials.get("client_secret")
        if not (isinstance(sid, str) and isinstance(client_secret, str)):
            return None
        return self._addresses.verified(sid, client_secret, purpose)

    def _named_user(self, auth: dict[str, Any]) -> str | None:
        """The user that the auth dict names, if any (`identifier`, or the old `user`)."""
        identifier = auth.get("identifier")
        name = identifier.get("user") if isinstance(identifier, dict) else auth.get("user")
        return self._accounts.user_id_of(name) if isinstance(name, str) else None


def _digest_without_auth(request: Request) -> bytes:
    """What is asked for, whatever the proof: the body's digest without `auth`."""
    body = {name: value for name, value in request.optional_body.items() if name != "auth"}
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).digest()
