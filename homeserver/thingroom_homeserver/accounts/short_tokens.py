"""Tokens that live for minutes: one signs another client in, once; one proves to a third party who somebody is.

May import storage and accounts. Source: client-server API, "Token-based" login and "OpenID".
"""

from __future__ import annotations

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.accounts import digest_of, new_token
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.storage import short_tokens as storage
from thingroom_homeserver.storage.accounts import find_account

LOGIN = "login"
OPENID = "openid"
OPENID_SECONDS = 3600


class ShortTokens:
    """Makes and checks them. Expired ones go when new ones come."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def make(self, purpose: str, user_id: str, seconds: int) -> str:
        """A new token, good for `seconds`."""
        token, digest = new_token("thl" if purpose == LOGIN else "tho")
        now_ms = self._clock.now_ms()

        def write(transaction: Transaction) -> None:
            storage.delete_expired(transaction, now_ms)
            storage.insert_short_token(transaction, digest, purpose, user_id, now_ms + seconds * 1000)

        await self._database.write(write)
        return token

    async def use_login_token(self, token: str) -> str | None:
        """Whose it is; it is not good any more. None if it was not."""
        digest, now_ms = digest_of(token), self._clock.now_ms()
        return await self._database.write(lambda t: storage.take_short_token(t, digest, LOGIN, now_ms))

    def openid_user(self, token: str) -> str | None:
        """Who proved themselves with an OpenID token, for the federation's /openid/userinfo. None: not good."""
        digest, now_ms = digest_of(token), self._clock.now_ms()
        user_id = self._database.read(lambda c: storage.find_short_token(c, digest, OPENID, now_ms))
        if user_id is None:
            return None
        account = self._database.read(lambda c: find_account(c, user_id))
        return None if account is None or account["deactivated"] or account["locked"] else user_id
