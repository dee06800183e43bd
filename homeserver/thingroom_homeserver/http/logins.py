"""Guessing at passwords: each wrong one costs the address and the account a token, and without tokens nobody guesses.

May import accounts and the rate limiter. Called for /login and for the password stage of interactive authentication.
"""

from __future__ import annotations

from thingroom_homeserver.accounts.accounts import Accounts
from thingroom_homeserver.accounts.outcomes import Refused
from thingroom_homeserver.http.errors import limit_exceeded
from thingroom_homeserver.http.rate_limit import RateLimiter


class Logins:
    """Password checks with a limit on failures."""

    def __init__(self, accounts: Accounts, failures: RateLimiter) -> None:
        self._accounts = accounts
        self._failures = failures

    async def check(self, user_id: str, password: str, address: str) -> Refused | None:
        """None if the password is right. Raises MatrixError M_LIMIT_EXCEEDED after too many wrong ones.

        The tokens are taken before the check and given back after a good one, so guesses sent at once count too.
        """
        taken: list[tuple[str, str]] = []
        for kind, who in (("login_failure_address", address), ("login_failure_account", user_id)):
            wait = self._failures.take(kind, who)
            if wait:
                for bucket in taken:
                    self._failures.give_back(*bucket)
                raise limit_exceeded(wait)
            taken.append((kind, who))
        refused = await self._accounts.check_password(user_id, password)
        if refused is None:
            for bucket in taken:
                self._failures.give_back(*bucket)
        return refused
