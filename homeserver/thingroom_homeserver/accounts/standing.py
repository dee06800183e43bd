"""Locking and suspending accounts; and hearing of what commands changed in the database of a running server.

May import storage and accounts. http/restrictions.py says what a locked or suspended user may still do.
Source: client-server API, "Account locking" and "Account suspension".
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Mapping

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.accounts.accounts import SessionCache
from thingroom_homeserver.storage import standing as storage

LOOK_EVERY_SECONDS = 1.0


class Standing:
    """The standing of accounts. `left`: what the rooms have to do once an account is deactivated."""

    def __init__(self, database: Database, sessions: SessionCache) -> None:
        self._database = database
        self._sessions = sessions

    async def set_locked(self, user_id: str, value: bool) -> None:
        await self._set(user_id, "locked", value)

    async def set_suspended(self, user_id: str, value: bool) -> None:
        await self._set(user_id, "suspended", value)

    async def _set(self, user_id: str, column: str, value: bool) -> None:
        def write(transaction: Transaction) -> None:
            storage.set_standing(transaction, user_id, column, value)
            storage.note_outside_change(transaction, user_id, column)
            transaction.after_commit(lambda: self._sessions.forget_user(user_id))

        await self._database.write(write)

    async def catch_up(self, acts: Mapping[str, Callable[[str], Awaitable[None]]]) -> None:
        """Act on what was changed, here or by a command: forget sessions in memory; `acts` say what else, by change."""
        changes: list[sqlite3.Row] = self._database.read(storage.outside_changes)
        if not changes:
            return
        for change in changes:
            self._sessions.forget_user(change["user_id"])
            if (act := acts.get(change["what"])) is not None:
                await act(change["user_id"])
        last = changes[-1]["number"]
        await self._database.write(lambda transaction: storage.delete_outside_changes(transaction, last))

    async def keep_up(self, acts: Mapping[str, Callable[[str], Awaitable[None]]]) -> None:
        """`catch_up`, every second, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            await self.catch_up(acts)
