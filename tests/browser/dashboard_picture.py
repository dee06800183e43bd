"""The dashboard's pictures in docs/pictures: a home of simulated devices as a phone and a desk show it.

python -m tests.browser.dashboard_picture --out docs/pictures
"""

from __future__ import annotations

import asyncio
import math
import random
import tempfile
import time
from pathlib import Path
from typing import Literal

import click
from PIL import Image
from tests.browser.dashboard_browser import DESK, PHONE, DashboardBrowser, dashboard_browser
from tests.gateway.bot_home import BotHome, bot_home, person
from tests.gateway.gateway_support import Thing
from tests.homeserver.running import PASSWORD

from thingroom_common.database import Transaction
from thingroom_gateway.series.reading import SeriesReading
from thingroom_wire import keys
from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record, encode_pack

NOW = time.time_ns() // 1_000_000
EVERY_MS = 60_000
DAY_MS = 86_400_000
SETTLE_SECONDS = 2.0
THINGS = (
    (Thing(1, "Kitchen window"), "Kitchen", {"temperature": Decimal(214, -1), "humidity": Decimal(452, -1)}),
    (Thing(2, "Front door", "door"), "Hall", {"open": False, "battery_level": 12}),
    (Thing(3, "Heater", "thermostat"), "Living room", {"temperature": Decimal(208, -1), "target": Decimal(21, 0)}),
    (Thing(4, "Reading lamp", "dimmer"), "Living room", {"on": True, "brightness": 40}),
    (Thing(5, "Tomatoes", "soil"), "Balcony", {"moisture": 31}),
)


async def _fill(home: BotHome) -> str:
    """Devices with their newest values, and a week of one of them. Returns that one's key id."""
    registry, series = home.gateway.core.registry, home.gateway.core.series
    for thing, place, values in THINGS:
        await home.enrol(thing, place)
        quantities = registry.by_kid(thing.kid).profile.quantities
        records = [Record(name, quantities[name].unit, value, 0) for name, value in values.items()]
        pack = encode_pack(keys.base_name(keys.eui64_from_key_id(thing.kid)), NOW, records)
        await home.door.send(thing.envelope(payload=pack))
    kitchen = THINGS[0][0]
    number, chance = registry.by_kid(kitchen.kid).row.id, random.Random(7)

    def week(transaction: Transaction) -> None:
        readings = []
        for ts in range(NOW - 8 * DAY_MS, NOW, EVERY_MS):
            if 2.2 < (NOW - ts) / DAY_MS < 2.6:
                continue
            day = ts / DAY_MS * 2 * math.pi
            warm = 20.4 - 2.1 * math.cos(day - 0.9) + 0.6 * math.sin(day / 3) + chance.gauss(0, 0.12)
            damp = 49 + 5 * math.cos(day - 0.7) + chance.gauss(0, 0.7)
            readings.append(SeriesReading("temperature", ts, f"{warm:.1f}", 0, 0))
            readings.append(SeriesReading("humidity", ts, f"{damp:.1f}", 0, 0))
        series.add(transaction, number, readings)

    await home.gateway.core.database.write(week)
    plug = await home.gateway.core.enrolment.adopt(b"\x5a" * 8, "Washer plug", "Kitchen", "smart_plug", lambda *_: None)
    values = {"on": "true", "power": "412", "energy": "31.7"}
    attested = [SeriesReading(name, NOW, value, 0, 1) for name, value in values.items()]
    await home.gateway.core.database.write(lambda t: series.add(t, plug.device.row.id, attested))  # type: ignore[union-attr]
    await asyncio.sleep(SETTLE_SECONDS)
    return kitchen.hex


async def _shoot(
    browser: DashboardBrowser, path: str, file: Path, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    await browser.look(size, scheme)
    await browser.open(path)
    await browser.wait_until("[...document.querySelectorAll('.chart')].slice(0, 2).every((one) => one.dataset.drawn)")
    await browser.screenshot(file)
    with Image.open(file) as image:
        image.convert("RGB").quantize(96, dither=Image.Dither.NONE).save(file, optimize=True)
    click.echo(f"{file}: {file.stat().st_size} bytes")


async def _run(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with bot_home(Path(folder)) as home, person(home.homeserver, "owner"):
            kid = await _fill(home)
            dashboard = home.gateway.dashboard
            assert dashboard is not None
            async with dashboard_browser(f"http://127.0.0.1:{dashboard.port}") as browser:
                await browser.open("/")
                await browser.sign_in("owner", PASSWORD)
                await _shoot(browser, "/", out / "dashboard-devices.png", DESK, "light")
                await _shoot(browser, f"/device/{kid}?span=7d", out / "dashboard-device.png", (800, 800), "dark")
                home.gateway.core.pairing.open(10)
                await _shoot(browser, "/pair", out / "dashboard-pairing.png", PHONE, "light")
                home.gateway.core.pairing.close()


@click.command()
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True)
def main(out: Path) -> None:
    asyncio.run(_run(out))


if __name__ == "__main__":
    main()
