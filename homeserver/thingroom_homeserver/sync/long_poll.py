"""GET /sync as a client sees it: an answer at once if there is news, else when there is, or after the timeout.

May import sync. Next: build.py, ../notifier.py.
"""

from __future__ import annotations

import time
from dataclasses import replace

from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.sync.build import build_sync
from thingroom_homeserver.sync.request import SyncRequest, SyncSources


async def sync(sources: SyncSources, request: SyncRequest, wait_seconds: float) -> JsonObject:
    """The answer; without news, an empty one after `wait_seconds`. An initial or full_state sync never waits."""
    notifier, typing = sources.rooms.notifier, sources.typing
    deadline = time.monotonic() + wait_seconds
    if request.since is not None and request.device_id is not None:
        # Who comes back with a token has what came with it.
        upto = min(request.since.to_device_position, notifier.position)
        await sources.to_device.acknowledge(request.user_id, request.device_id, upto)
    while True:
        result = await build_sync(sources, request)
        remaining = deadline - time.monotonic()
        at_once = request.since is None or request.full_state
        if result.has_news or at_once or remaining <= 0 or notifier.closed:
            return result.response
        request = replace(request, since=result.token)
        # Building may have let others run: wait only if nothing happened since it looked.
        if notifier.position == result.token.position and typing.position == result.token.ephemeral:
            await notifier.wait(request.user_id, remaining)
