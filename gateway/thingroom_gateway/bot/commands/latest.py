"""Latest values, and the list of devices."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import Final

from thingroom_gateway.alerts.presence import presence_of
from thingroom_gateway.alerts.texts import shown_duration, shown_value
from thingroom_gateway.bot.answer import Answer, Lines
from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.requests import Devices, Latest
from thingroom_gateway.devices import Device
from thingroom_gateway.ledger import summary
from thingroom_gateway.profiles import Quantity
from thingroom_gateway.series.reading import Reading
from thingroom_gateway.storage import series
from thingroom_gateway.storage.missing import gaps_of

MAX_LINES: Final = 40
# An older value is told with its age.
OLD_MS: Final = 15 * 60 * 1000


async def answer_latest(request: Latest, where: Where, tools: Tools) -> Answer:
    devices = where.chosen(request.targets)
    wanted = request.targets.quantities
    if wanted and not request.targets.devices:
        devices = [device for device in devices if set(wanted) & set(device.profile.quantities)]
    if not devices:
        return Answer("There are no devices here." if not wanted else "Nothing here measures that.")
    now, shown = tools.now_ms(), devices[:MAX_LINES]

    def read(connection: sqlite3.Connection) -> list[dict[str, Reading]]:
        return [series.latest(connection, device.row.id, now + 5 * 60 * 1000) for device in shown]

    lines = Lines()
    for device, latest in zip(shown, await tools.database.read_in_thread(read), strict=True):
        lines.item(device.row.name, values_text(device, latest, wanted, now))
    if len(devices) > MAX_LINES:
        lines.line(f"… and {len(devices) - MAX_LINES} more. Ask for a place, a device or a quantity.")
    return lines.answer()


def values_text(device: Device, latest: dict[str, Reading], wanted: tuple[str, ...], now: int) -> str:
    """ "21.4 °C, 45 % (2 h ago)"; named quantities, or those that are said aloud. Pure."""
    words, newest = [], 0
    for name, quantity in device.profile.quantities.items():
        reading = latest.get(name)
        if reading is None or (name not in wanted if wanted else quantity.quiet):
            continue
        newest = max(newest, reading.ts)
        words.append(value_text(quantity, reading.value, titled=len(device.profile.quantities) > 2))
    if not words:
        return "no values yet"
    age = now - newest
    return ", ".join(words) + (f" ({shown_duration(age)} ago)" if age > OLD_MS else "")


def value_text(quantity: Quantity, value: str, titled: bool = False) -> str:
    """A stored value for people."""
    if quantity.kind == "number":
        text = shown_value(quantity, Decimal(value))
    elif quantity.kind == "boolean":
        text = shown_value(quantity, Decimal(1 if value == "true" else 0))
    else:
        text = value
    return f"{quantity.title} {text}" if titled or (quantity.kind == "boolean" and not quantity.words) else text


async def answer_devices(request: Devices, where: Where, tools: Tools) -> Answer:
    devices = where.chosen(request.targets)
    if not devices:
        return Answer("There are no devices here yet. The owner can say `pair` to let one in.")
    now = tools.now_ms()
    listed = devices[:MAX_LINES]

    def read(connection: sqlite3.Connection) -> list[str]:
        return [summary(gaps_of(connection, device.row.id)) for device in listed]

    lines = Lines()
    for device, missing in zip(listed, await tools.database.read_in_thread(read), strict=True):
        heard = tools.alerts.heard(device.row.id)
        presence = presence_of(device, heard, now) if heard else "never heard"
        ago = f", heard {shown_duration(now - heard)} ago" if heard else ""
        place = f" in {device.row.place}" if where.place is None and device.row.place != device.row.name else ""
        attested = ", not signed by the device" if device.row.attested else ""
        lines.item(
            device.row.name,
            f"{device.profile.title}{place}, {presence}{ago}{attested}{f'; {missing}' if missing else ''}",
        )
    if len(devices) > MAX_LINES:
        lines.line(f"… and {len(devices) - MAX_LINES} more.")
    return lines.answer()
