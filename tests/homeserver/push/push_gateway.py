"""A real push gateway on an ephemeral port that answers as a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from tests.patience import PATIENCE_SECONDS

PATH = "/_matrix/push/v1/notify"


@dataclass
class Gateway:
    """`status` is what it answers, `rejected` the pushkeys it does not know; `requests` all that came."""

    url: str
    status: int = 200
    rejected: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    @property
    def accepted(self) -> list[dict[str, Any]]:
        """The notifications that were answered with 200."""
        return [one["notification"] for one in self.requests if one["status"] == 200]

    async def until(self, condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        """Wait for the condition; fails if it does not come about."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def running_gateway() -> AsyncIterator[Gateway]:
    gateway = Gateway("")

    async def notify(request: web.Request) -> web.Response:
        gateway.requests.append({"notification": (await request.json())["notification"], "status": gateway.status})
        if gateway.status != 200:
            return web.Response(status=gateway.status, headers={"Location": gateway.url})
        return web.json_response({"rejected": gateway.rejected})

    app = web.Application()
    app.router.add_post(PATH, notify)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gateway.url = f"http://127.0.0.1:{runner.addresses[0][1]}{PATH}"
        yield gateway
    finally:
        await runner.cleanup()
