"""What a board prints: the newest lines, and waiting for one. May import nothing of ours."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

MAX_LINES = 20_000
MAX_LINE = 16_384


class Console:
    """`feed` takes bytes as they come; `lines` are the newest whole lines; `listeners` are told every event."""

    def __init__(self) -> None:
        self.lines: deque[str] = deque(maxlen=MAX_LINES)
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        self._rest = b""
        self._total = 0
        self._changed = asyncio.Condition()

    async def feed(self, data: bytes) -> None:
        """Take what was printed. A line that never ends is cut at MAX_LINE bytes."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            whole.append(self._rest)
            self._rest = b""
        for line in whole:
            if event := event_of(line.decode("utf-8", "replace")):
                for listener in self.listeners:
                    listener(event)
        if whole:
            async with self._changed:
                for line in whole:
                    self.lines.append(line.rstrip(b"\r").decode("utf-8", "replace"))
                self._total += len(whole)
                self._changed.notify_all()

    def mark(self) -> int:
        """The number of lines so far: `wait_for(..., since=mark)` looks at later ones only."""
        return self._total

    async def wait_for(self, wanted: Callable[[str], bool], seconds: float = 60, since: int = 0) -> str:
        """The first line after `since` that is `wanted`. Raises TimeoutError with the newest lines."""
        try:
            async with asyncio.timeout(seconds), self._changed:
                seen = since
                while True:
                    first = self._total - len(self.lines)
                    for index in range(max(seen, first), self._total):
                        if wanted(self.lines[index - first]):
                            return self.lines[index - first]
                    seen = self._total
                    await self._changed.wait()
        except TimeoutError:
            newest = "\n".join(list(self.lines)[-30:])
            raise TimeoutError(f"not on the console within {seconds:g} s; its newest lines:\n{newest}") from None

    def power_lost(self) -> None:
        """What was begun on a line is not continued on it."""
        self._rest = b""

    async def event(self, name: str, seconds: float = 60, since: int = 0) -> dict[str, Any]:
        """The first event of the node after `since` that is called `name`. Raises TimeoutError."""
        return event_of(await self.wait_for(lambda line: event_of(line).get("event") == name, seconds, since))

    def events(self) -> list[dict[str, Any]]:
        """All events of the node among the lines that are kept."""
        return [event for line in self.lines if (event := event_of(line))]


def event_of(line: str) -> dict[str, Any]:
    """The node's event in a line, empty where it holds none."""
    if not line.startswith("{"):
        return {}
    try:
        event = json.loads(line)
    except ValueError:
        return {}
    return event if isinstance(event, dict) else {}
