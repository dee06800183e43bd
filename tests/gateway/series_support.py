"""A store with readings in it, for tests of the series, charts and exports: no gateway runs."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.gateway.gateway_support import Thing

from thingroom_common.database import Database
from thingroom_gateway.devices import Device, Registry
from thingroom_gateway.profiles import Profile, load_profiles, parse_profile
from thingroom_gateway.series.reading import SeriesReading
from thingroom_gateway.storage.devices import DeviceRow, insert_device
from thingroom_gateway.storage.schema import MIGRATIONS
from thingroom_gateway.storage.series import Recorder

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
# Sun 15 Nov 2026, 00:00 UTC.
START = 1_794_700_800_000

ROOM = """
name = "room"
title = "A room"
[[quantities]]
name = "temperature"
title = "Temperature"
unit = "Cel"
shown_unit = "°C"
precision = 1
[[quantities]]
name = "humidity"
title = "Humidity"
unit = "%RH"
shown_unit = "%"
[[quantities]]
name = "pressure"
title = "Pressure"
unit = "Pa"
shown_unit = "hPa"
[[quantities]]
name = "door"
title = "Door"
kind = "boolean"
words = { true = "open", false = "closed" }
[[quantities]]
name = "state"
title = "State"
kind = "text"
[[examples]]
about = "None."
payload = ""
"""


@dataclass
class Store:
    """An open database with two devices, "Kitchen" and "Attic"."""

    database: Database
    registry: Registry
    recorder: Recorder
    kitchen: Device
    attic: Device

    async def add(self, *readings: SeriesReading, device: Device | None = None) -> None:
        row = (device or self.kitchen).row
        await self.database.write(lambda transaction: self.recorder.add(transaction, row.id, readings))


def room() -> Profile:
    return parse_profile(ROOM, "room.toml")


@contextlib.asynccontextmanager
async def store(directory: Path, names: Sequence[str] = ("Kitchen", "Attic")) -> AsyncIterator[Store]:
    """A store in `directory`/gateway.sqlite."""
    database = await Database.open(directory / "gateway.sqlite", MIGRATIONS)
    try:
        registry = Registry([], {**load_profiles(), "room": room()})
        devices = []
        for seed, name in enumerate(names, 1):
            thing = Thing(seed)
            row = DeviceRow(0, thing.kid, thing.public, bytes(32), bytes(32), name, name, "room", "active", 0)
            devices.append(registry.put(await database.write(lambda t, row=row: insert_device(t, row))))
        yield Store(database, registry, Recorder(registry), devices[0], devices[1])
    finally:
        await database.close()


def every(step: int, begin: int, end: int, values: Sequence[str], quantity: str = "temperature") -> list[SeriesReading]:
    """A reading each `step` ms from `begin` up to `end`, going round in `values`."""
    return [
        SeriesReading(quantity, ts, values[number % len(values)], 0, number + 1)
        for number, ts in enumerate(range(begin, end, step))
    ]
