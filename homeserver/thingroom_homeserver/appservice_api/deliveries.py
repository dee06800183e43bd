"""The tasks that push events to the application services, one each.

May import delivery.py and the notifier. server.py starts and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from thingroom_homeserver.appservice_api.delivery import Delivery
from thingroom_homeserver.notifier import Notifier

logger = logging.getLogger(__name__)

START_AGAIN_AFTER_SECONDS = 5.0


@asynccontextmanager
async def delivering(deliveries: Iterable[Delivery], notifier: Notifier) -> AsyncIterator[None]:
    """Run `deliveries` while the block runs, and wake them for every committed change in a room; those that are to tell
    of more than events, for every change."""
    deliveries = tuple(deliveries)
    for delivery in deliveries:
        if delivery.wants_extras:
            notifier.add_watcher(delivery.wake)
            continue
        notifier.add_listener(lambda _, delivery=delivery: delivery.wake())  # type: ignore[misc]
    tasks = [asyncio.create_task(_keep_running(delivery), name="application service") for delivery in deliveries]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def _keep_running(delivery: Delivery) -> None:
    """A failure (a full disk, say) is logged, and after a pause the delivery goes on from what is on disk."""
    while True:
        try:
            await delivery.run()
        except Exception:
            logger.exception("delivery to an application service failed")
            await asyncio.sleep(START_AGAIN_AFTER_SECONDS)
