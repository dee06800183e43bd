"""Pages that stay up to date: who is looking at what, and the pieces of HTML that changed, by server-sent events.

A reading marks its device; a round later the device is read and drawn once, for all who look at it. What waits for a
slow browser is the newest state of each piece, so it never grows beyond what is on its page. May import facts, access,
devices. pages_live.py speaks to browsers.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, Literal

from thingroom_gateway.commands.command import Command
from thingroom_gateway.dashboard.facts import Facts
from thingroom_gateway.dashboard.view import Card, Detail
from thingroom_gateway.devices import Device, Registry

logger = logging.getLogger(__name__)

ROUND_SECONDS: Final = 0.5
# Presence and alerts change with time alone.
TICK_SECONDS: Final = 10.0
# So many devices are drawn before others have their turn.
AT_ONCE: Final = 50

Kind = Literal["cards", "device", "pairing"]
Pieces = dict[str, str]


class Watcher:
    """A browser that looks at `wanted` (row ids). `pieces` (by id of the element) and `stale` wait for it."""

    def __init__(self, kind: Kind, wanted: frozenset[int]) -> None:
        self.kind: Kind = kind
        self.wanted = wanted
        self.pieces: Pieces = {}
        self.stale = False
        self.closed = False
        self.wake = asyncio.Event()
        self._shown: dict[str, int] = {}

    def put(self, pieces: Pieces) -> None:
        """Pieces that are not as they were."""
        for name, html in pieces.items():
            if self._shown.get(name) != hash(html):
                self._shown[name] = hash(html)
                self.pieces[name] = html
                self.wake.set()

    def turn_stale(self) -> None:
        """The page as a whole is not what it was."""
        self.stale = True
        self.wake.set()

    def take(self) -> tuple[Pieces, bool]:
        """What waits; it waits no longer."""
        taken = self.pieces, self.stale
        self.pieces, self.stale = {}, False
        self.wake.clear()
        return taken


class Live:
    """Owns the watchers. `draw_card` and `draw_detail` make pieces of HTML."""

    def __init__(
        self,
        facts: Facts,
        registry: Registry,
        most: int,
        draw_card: Callable[[Card], Pieces],
        draw_detail: Callable[[Detail], Pieces],
    ) -> None:
        self._facts = facts
        self._registry = registry
        self._most = most
        self._draw_card = draw_card
        self._draw_detail = draw_detail
        self._watchers: dict[Watcher, str] = {}
        self._dirty: set[int] = set()
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        return len(self._watchers)

    def join(self, watcher: Watcher, person: str) -> bool:
        """Whether there is room for `watcher`; one person may have a quarter of it. It gets everything once."""
        mine = Counter(self._watchers.values())[person]
        if len(self._watchers) >= self._most or mine >= max(1, self._most // 4):
            return False
        self._watchers[watcher] = person
        self._mark(watcher.wanted)
        return True

    def leave(self, watcher: Watcher) -> None:
        self._watchers.pop(watcher, None)

    def close(self) -> None:
        """Let every browser go."""
        for watcher in self._watchers:
            watcher.closed = True
            watcher.wake.set()

    # --- what happens ------------------------------------------------------------------------------------------------

    def seen(self, device: Device, _observation: object = None) -> None:
        """New readings of `device` are stored."""
        self._mark({device.row.id})

    def commanded(self, command: Command, *_: object) -> None:
        """Something came of a command."""
        self._mark({command.device})

    def enrolled(self, device: Device) -> None:
        """A device is new or is described in another way: lists of devices are not what they were."""
        self._mark({device.row.id})
        for watcher in self._watchers:
            if watcher.kind != "device":
                watcher.turn_stale()

    def pairing_changed(self) -> None:
        for watcher in self._watchers:
            if watcher.kind == "pairing":
                watcher.turn_stale()

    def _mark(self, devices: set[int] | frozenset[int]) -> None:
        if self._watchers:
            self._dirty |= devices
            self._wake.set()

    # --- telling -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Draw what changed until cancelled."""
        loop = asyncio.get_running_loop()
        next_tick = loop.time() + TICK_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(0.0, next_tick - loop.time())):
                    await self._wake.wait()
            except TimeoutError:
                next_tick = loop.time() + TICK_SECONDS
                self._dirty.update(*(watcher.wanted for watcher in self._watchers))
            self._wake.clear()
            try:
                await self._round()
            except sqlite3.Error as error:
                logger.error("live pages wait for the database: %s", error)
            except Exception:
                # A page that cannot be drawn is no reason to end the gateway: readings go on.
                logger.exception("live pages were not drawn")
            await asyncio.sleep(ROUND_SECONDS)

    async def _round(self) -> None:
        dirty, self._dirty = self._dirty, set()
        cards: set[int] = set()
        details: set[int] = set()
        for watcher in self._watchers:
            {"cards": cards, "device": details, "pairing": set[int]()}[watcher.kind].update(watcher.wanted & dirty)
        numbers = sorted(cards)
        for start in range(0, len(numbers), AT_ONCE):
            devices = self._known(numbers[start : start + AT_ONCE])
            for device, card in zip(devices, await self._facts.cards(devices), strict=True):
                self._tell("cards", device.row.id, self._draw_card(card))
                await asyncio.sleep(0)
        for device in self._known(sorted(details)):
            self._tell("device", device.row.id, self._draw_detail(await self._facts.detail(device)))

    def _known(self, numbers: Sequence[int]) -> list[Device]:
        """Those that are still there: a pairing that was not stored is taken back."""
        return [device for device in self._registry if device.row.id in set(numbers)]

    def _tell(self, kind: Kind, number: int, pieces: Pieces) -> None:
        for watcher in self._watchers:
            if watcher.kind == kind and number in watcher.wanted:
                watcher.put(pieces)
