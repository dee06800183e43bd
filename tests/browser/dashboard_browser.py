"""The dashboard in a headless Chromium, worked through its own links, buttons and fields.

`async with dashboard_browser(url) as browser:` opens a browser with an empty profile. The other side is dashboard.mjs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

from tests.browser.worked_client import WorkedClient, node_process

PHONE, DESK = (360, 740), (1200, 800)


class DashboardBrowser(WorkedClient):
    """One browser with one page. Methods wait until the page is there; they raise ClientFailed."""

    async def open(self, path: str) -> str:
        """Go to a page; returns where that ended."""
        return str(await self.ask("open", path=path))

    async def fill(self, label: str, text: str) -> None:
        await self.ask("fill", label=label, text=text)

    async def fill_in(self, within: str, text: str) -> None:
        """Fill in the field of a CSS selector."""
        await self.ask("fill_in", within=within, text=text)

    async def choose(self, label: str, option: str) -> None:
        await self.ask("choose", label=label, option=option)

    async def click(self, name: str, role: str = "button", within: str = "") -> None:
        """Click what is called `name`, within the element of the CSS selector `within`."""
        await self.ask("click", name=name, role=role, within=within)

    async def wait_for(self, text: str, within: str = "main") -> None:
        """Wait until an element of the selector `within` contains `text`, without touching anything."""
        await self.ask("wait_for", text=text, within=within)

    async def wait_until(self, condition: str) -> None:
        """Wait until JavaScript in the page says so."""
        await self.ask("wait_until", condition=condition)

    async def text(self, within: str = "main") -> str:
        return str(await self.ask("text", within=within))

    async def evaluate(self, code: str) -> Any:
        return await self.ask("evaluate", code=code)

    async def hover(self, within: str, x: float, y: float) -> None:
        """Move the mouse to a place of an element, in parts of its size."""
        await self.ask("hover", within=within, x=x, y=y)

    async def look(self, size: tuple[int, int], scheme: Literal["light", "dark"]) -> None:
        await self.ask("look", width=size[0], height=size[1], scheme=scheme)

    async def screenshot(self, path: Path, whole: bool = False) -> None:
        await self.ask("screenshot", path=str(path), whole=whole)

    async def path(self) -> str:
        return str(await self.ask("path"))

    async def problems(self) -> list[dict[str, Any]]:
        """What went wrong in the page: errors on its console, exceptions, requests to anywhere else."""
        return list(await self.ask("problems"))

    async def sign_in(self, user: str, password: str) -> None:
        """From any page that asks for it."""
        await self.fill("Name", user)
        await self.fill("Password", password)
        await self.click("Sign in")
        await self.wait_until("!document.title.startsWith('Sign in') && !document.title.startsWith('Signed in')")


@asynccontextmanager
async def dashboard_browser(url: str) -> AsyncIterator[DashboardBrowser]:
    """A browser with an empty profile; `url` is the dashboard's, without a slash at the end."""
    async with node_process("dashboard.mjs", url) as process:
        browser = DashboardBrowser(process)
        await browser.result("start")
        yield browser
