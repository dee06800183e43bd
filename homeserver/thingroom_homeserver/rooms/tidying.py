"""Forgetting transaction ids that no client repeats any more.

May import storage. server.py runs it beside the rest. Source: client-server API, "Transaction identifiers", which lets
a server forget them; a phone that was off for a week still does not say things twice.
"""

from __future__ import annotations

import asyncio
import logging

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.transaction_ids import forget_before

logger = logging.getLogger(__name__)

KEEP_MS = 7 * 86_400_000
EVERY_SECONDS = 3600.0
AT_ONCE = 500


async def forget_transactions(rooms: Rooms, keep_ms: int = KEEP_MS, at_once: int = AT_ONCE) -> None:
    """Forget those that are older, a few in each write."""
    before_ms = rooms.clock.now_ms() - keep_ms
    forgotten = at_once
    while forgotten == at_once:
        forgotten = await rooms.database.write(lambda transaction: forget_before(transaction, before_ms, at_once))


async def keep_tidy(rooms: Rooms) -> None:
    """`forget_transactions`, every hour, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await forget_transactions(rooms)
        except Exception:
            logger.exception("old transaction ids could not be forgotten; it is tried again in an hour")
