"""User-Interactive Authentication: the 401 that asks for a password (or nothing) before something weighty is done.

May import the HTTP types and accounts. Endpoints call `challenge`; None means go on.
Source: client-server API, "User-Interactive Authentication API".
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.http.endpoint import Response, json_response
from thingroom_homeserver.http.errors import MatrixError, error_for
from thingroom_homeserver.http.logins import Logins

if TYPE_CHECKING:
    from thingroom_homeserver.http.endpoint import Request

MAX_SESSIONS = 1000
EXPIRES_AFTER_SECONDS = 15 * 60

DUMMY = "m.login.dummy"
PASSWORD = "m.login.password"  # noqa: S105 - the name of a stage


@dataclass(slots=True)
class _UiaSession:
    """`purpose`: the method, path and user it was opened for; it counts for nothing else."""

    purpose: tuple[str, ...]
    started: float
    completed: list[str] = field(default_factory=list)


class InteractiveAuth:
    """The sessions under way, oldest first; the oldest goes when there are too many."""

    def __init__(self, accounts: Accounts, logins: Logins, clock: Clock) -> None:
        self._accounts = accounts
        self._logins = logins
        self._clock = clock
        self._sessions: dict[str, _UiaSession] = {}

    async def challenge(self, request: Request, stages: tuple[str, ...], user_id: str = "") -> Response | None:
        """None once every stage is done for this request, else the 401 to answer with. `user_id` owns the password.

        Raises MatrixError: M_LIMIT_EXCEEDED after too many wrong passwords, M_BAD_JSON.
        """
        auth = request.body_field("auth", dict, {}) if request.optional_body else {}
        purpose = (request.method, request.http.path, user_id)
        name, session = self._session_for(auth.get("session"), purpose)
        stage = auth.get("type")
        failed: MatrixError | None = None
        if stage is not None and stage not in session.completed:
            failed = await self._attempt(stage, auth, stages, user_id, request.address)
            if failed is None:
                session.completed.append(stage)
        if set(stages) <= set(session.completed):
            self._sessions.pop(name, None)
            return None
        answer: dict[str, Any] = {"flows": [{"stages": list(stages)}], "params": {}, "session": name}
        if session.completed:
            answer["completed"] = session.completed
        if failed is not None:
            answer |= failed.body()
        return json_response(answer, 401)

    def _session_for(self, name: object, purpose: tuple[str, ...]) -> tuple[str, _UiaSession]:
        now = self._clock.monotonic()
        if isinstance(name, str):
            known = self._sessions.get(name)
            if known is not None and known.purpose == purpose and now - known.started < EXPIRES_AFTER_SECONDS:
                return name, known
        while len(self._sessions) >= MAX_SESSIONS:
            del self._sessions[next(iter(self._sessions))]
        fresh = secrets.token_urlsafe(18)
        self._sessions[fresh] = _UiaSession(purpose, now)
        return fresh, self._sessions[fresh]

    async def _attempt(
        self, stage: object, auth: dict[str, Any], stages: tuple[str, ...], user_id: str, address: str
    ) -> MatrixError | None:
        """None when the stage succeeds."""
        if stage not in stages:
            return MatrixError(401, "M_UNRECOGNIZED", "This stage is not asked for here")
        if stage == DUMMY:
            return None
        password = auth.get("password")
        if not isinstance(password, str):
            return MatrixError(401, "M_MISSING_PARAM", "Missing parameter: password")
        if self._named_user(auth) not in (None, user_id):
            return MatrixError(401, "M_FORBIDDEN", "This is another user's password to give")
        outcome = await self._logins.check(user_id, password, address)
        return error_for(outcome) if isinstance(outcome, Refused) else None

    def _named_user(self, auth: dict[str, Any]) -> str | None:
        """The user that the auth dict names, if any (`identifier`, or the old `user`)."""
        identifier = auth.get("identifier")
        name = identifier.get("user") if isinstance(identifier, dict) else auth.get("user")
        return self._accounts.user_id_of(name) if isinstance(name, str) else None
