"""Hydrogen, a stock browser client for Matrix, in a headless Chromium, for tests and for the README's picture.

`async with browser_client(folder, homeserver_url) as client:` bundles the client into `folder`, opens its login form
and works it as a person would. The other side is driver.mjs, which says what each command clicks and reads. Reading
goes on in tests/flows/test_browser_client.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.browser.worked_client import WorkedClient, node_process


@dataclass(frozen=True)
class Message:
    """A message as the client shows it. `event_id` is None until the server has taken it."""

    sender: str | None
    body: str
    event_id: str | None


class BrowserClient(WorkedClient):
    """One browser with one page. Methods wait until the client shows the outcome; they raise ClientFailed."""

    async def log_in(self, username: str, password: str) -> None:
        """Fill in the login form and wait for the list of rooms, which comes after the first /sync."""
        await self.ask("log_in", username=username, password=password)

    async def log_in_refused(self, username: str, password: str) -> str:
        """Fill in the login form with a wrong password. Returns what the client says to that."""
        return str(await self.ask("log_in_refused", username=username, password=password))

    async def leave_page(self) -> None:
        """Go away from the client, as when its tab is closed."""
        await self.ask("leave_page")

    async def come_back(self) -> None:
        """Load the page anew: the session goes on from what it kept in IndexedDB. Waits for the list of rooms."""
        await self.ask("come_back")

    async def rooms(self) -> list[str]:
        """Names in the list of rooms, from the top."""
        return list(await self.ask("rooms"))

    async def wait_for_room(self, name: str) -> None:
        """Wait until a room of that name is in the list, joined or by invitation."""
        await self.ask("wait_for_room", name=name)

    async def open_room(self, name: str) -> None:
        """Click a joined room in the list; returns when its timeline is there."""
        await self.ask("open_room", name=name)

    async def accept_invite(self, name: str) -> None:
        """Click an invitation in the list, then Accept; returns when the room's timeline is there."""
        await self.ask("accept_invite", name=name)

    async def messages(self) -> list[Message]:
        """The messages of the open timeline, oldest first."""
        return [Message(**message) for message in await self.ask("messages")]

    async def announcements(self) -> list[str]:
        """The lines about joins, names and the like in the open timeline."""
        return list(await self.ask("announcements"))

    async def wait_for_message(self, text: str) -> None:
        """Wait until a message that contains `text` is in the open timeline, without touching anything."""
        await self.ask("wait_for_message", text=text)

    async def scroll_up_to(self, text: str) -> None:
        """Scroll up until a message that contains `text` is there and no gap is left.

        Scrolling to a gap makes the client ask the server for what belongs into it.
        """
        await self.ask("scroll_up_to", text=text)

    async def send(self, text: str) -> None:
        """Type and press Enter; returns when the message came back by /sync."""
        await self.ask("send", text=text)

    async def screenshot(self, path: Path, size: tuple[int, int] = (1200, 750)) -> None:
        """Write a PNG of the page, `size` in pixels."""
        await self.ask("screenshot", path=str(path), width=size[0], height=size[1])

    async def requests(self) -> list[dict[str, Any]]:
        """Every answer of the homeserver so far: method, path (with the query) and status."""
        return list(await self.ask("requests"))

    async def problems(self) -> list[dict[str, Any]]:
        """What went wrong in the page: `kind` is console, exception, network or status (an answer of 400 or more)."""
        return list(await self.ask("problems"))


@asynccontextmanager
async def browser_client(folder: Path, homeserver_url: str) -> AsyncIterator[BrowserClient]:
    """Bundle the client into `folder`, open it in a browser with an empty profile, and close both at the end."""
    async with node_process("driver.mjs", str(folder), homeserver_url.rstrip("/")) as process:
        client = BrowserClient(process)
        await client.result("start")
        yield client
