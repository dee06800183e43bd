"""Registration tokens: who has one may make an account, as often and as long as the administrator said.

May import storage and accounts. Source: client-server API, "Token-authenticated registration".
"""

from __future__ import annotations

import re
import secrets
import sqlite3

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.accounts import digest_of
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.storage import registration_tokens as storage

_GRAMMAR = re.compile(r"[0-9A-Za-z._~-]{1,64}")


class RegistrationTokens:
    """The table of registration tokens."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def make(
        self, token: str | None = None, *, uses: int | None = None, seconds: int | None = None
    ) -> str | Refused:
        """A new token (a random one if none is given) for `uses` accounts within `seconds`; None: without end."""
        token = token or secrets.token_urlsafe(12)
        if not _GRAMMAR.fullmatch(token):
            return Refused(Refusal.INVALID, "A token has 1 to 64 letters, digits and the characters . _ ~ -")
        text, now_ms = token, self._clock.now_ms()
        expires_ts = None if seconds is None else now_ms + seconds * 1000
        made = await self._database.write(
            lambda t: storage.insert_registration_token(t, digest_of(text), text, uses, expires_ts, now_ms)
        )
        return text if made else Refused(Refusal.INVALID, "There is such a token already")

    def is_good(self, token: str) -> bool:
        """Whether an account could be made with it now."""
        digest, now_ms = digest_of(token), self._clock.now_ms()
        return self._database.read(lambda connection: storage.is_good(connection, digest, now_ms))

    def use_within(self, transaction: Transaction, token: str) -> Refused | None:
        """Count one use, in the write that makes the account."""
        if storage.use_registration_token(transaction, digest_of(token), self._clock.now_ms()):
            return None
        return Refused(Refusal.FORBIDDEN, "The registration token is not valid any more")

    def list_all(self) -> list[sqlite3.Row]:
        """token, uses_allowed, used, expires_ts."""
        return self._database.read(storage.list_registration_tokens)

    async def revoke(self, token: str) -> bool:
        """False if there is none."""
        return await self._database.write(lambda t: storage.delete_registration_token(t, digest_of(token)))
