"""Refresh tokens: one is exchanged for a new pair, and stays good until something of the new pair is used.

A token that comes again after that was stolen, or its successor was: the session's tokens end, the device stays,
and whoever knows the password goes on (RFC 9700, section 4.14.2). May import storage and accounts.
Source: client-server API, "Refreshing access tokens".
"""

from __future__ import annotations

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.accounts import Session, SessionCache, digest_of, new_token
from thingroom_homeserver.accounts.outcomes import Refusal, Refused
from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config_accounts import TokenLifetimes
from thingroom_homeserver.storage.accounts import delete_tokens
from thingroom_homeserver.storage.refresh_tokens import (
    find_refresh_token,
    insert_refresh_token,
    revoke_predecessor,
    succeed,
)

_UNKNOWN = Refused(Refusal.TOKEN_UNKNOWN, "Unknown refresh token")
_EXPIRED = Refused(Refusal.TOKEN_EXPIRED, "The refresh token has expired")
_REUSED = Refused(Refusal.TOKEN_EXPIRED, "The refresh token has been used before; log in again")
_LOCKED = Refused(Refusal.LOCKED, "This account has been locked")


class Refreshing:
    """Exchanges refresh tokens."""

    def __init__(self, database: Database, clock: Clock, lifetimes: TokenLifetimes, sessions: SessionCache) -> None:
        self._database = database
        self._clock = clock
        self._lifetimes = lifetimes
        self._sessions = sessions

    async def refresh(self, token: str) -> Session | Refused:
        """A new access token and a new refresh token for the session that `token` belongs to."""
        old_digest = digest_of(token)
        access_token, access_digest = new_token("thr")
        refresh_token, refresh_digest = new_token("thf")
        now_ms = self._clock.now_ms()
        seconds = self._lifetimes.access

        def write(transaction: Transaction) -> Session | Refused:
            old = find_refresh_token(transaction, old_digest)
            if old is None or old["deactivated"]:
                return _UNKNOWN
            if old["locked"]:
                return _LOCKED
            user_id, device_id = old["user_id"], old["device_id"]
            if old["revoked"]:
                delete_tokens(transaction, user_id, device_id)
                transaction.after_commit(lambda: self._sessions.forget_devices(user_id, {device_id}))
                return _REUSED
            if old["expires_ts"] is not None and old["expires_ts"] <= now_ms:
                return _EXPIRED
            revoke_predecessor(transaction, old_digest)
            access_expires = now_ms + seconds * 1000 if seconds else None
            succeed(transaction, old, refresh_digest, access_digest, now_ms, access_expires)
            refresh_expires = now_ms + self._lifetimes.refresh * 1000 if self._lifetimes.refresh else None
            insert_refresh_token(transaction, refresh_digest, user_id, device_id, now_ms, refresh_expires)
            replaced = old["successor_access"]
            if replaced is not None:
                transaction.after_commit(lambda: self._sessions.forget_devices(user_id, {device_id}))
            return Session(user_id, device_id, access_token, refresh_token, seconds * 1000 if seconds else None)

        return await self._database.write(write)
