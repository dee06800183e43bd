"""Whether a device is online, asleep as expected, or silent as not expected; and saying so in its room.

May import devices, storage, matrix_event. engine.py tells it the time; the bot and the dashboard ask `presence_of`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable

from thingroom_common.database import Database, Transaction
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.matrix_event import PRESENCE_TYPE
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage import outbox


def presence_of(device: Device, heard: int, now: int) -> str:
    """ "online", "asleep" (a device that sleeps between samples, as expected) or "silent" (not as expected)."""
    if now - heard > device.profile.silent_after_ms:
        return "silent"
    return "asleep" if device.profile.sleeps else "online"


class Presences:
    """What rooms were told of each device; a change becomes room state."""

    def __init__(self, database: Database, started: int) -> None:
        """`started` (Unix ms): nobody could be heard before."""
        self._database = database
        self._started = started
        self._told = database.read(store.presences)

    def of(self, number: int) -> str:
        """What was told last of the device with that row id; empty of one that was never heard."""
        return self._told.get(number, "")

    async def tell(self, devices: Iterable[Device], heard: Callable[[int], int], now: int) -> bool:
        """Say what changed, and return whether there was anything.

        `heard` gives when (Unix ms) a device was last heard.
        """
        news: list[tuple[Device, str]] = []
        for device in devices:
            at = heard(device.row.id)
            if not at or device.row.status != ACTIVE:
                continue
            told = self._told.get(device.row.id)
            # A restart is no word of a device that was silent before.
            presence = presence_of(device, at if told == "silent" else max(at, self._started), now)
            if told != presence:
                news.append((device, presence))
        if not news:
            return False

        def write(transaction: Transaction) -> None:
            for device, presence in news:
                store.save_presence(transaction, device.row.id, presence)
                content = json.dumps({"presence": presence, "last_heard": heard(device.row.id)})
                kid = device.kid_hex
                row = outbox.NewRow(device.row.place, device.row.id, kid, PRESENCE_TYPE, content, now, state_key=kid)
                outbox.add(transaction, row)

        await self._database.write(write)
        self._told.update({device.row.id: presence for device, presence in news})
        return True
