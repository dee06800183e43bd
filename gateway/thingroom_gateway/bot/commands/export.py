"""export: what was stored as a CSV file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Final

from thingroom_gateway.bot.answer import Answer, Attachment
from thingroom_gateway.bot.conversation import Tools, Where, range_of
from thingroom_gateway.bot.requests import Export
from thingroom_gateway.devices import Device
from thingroom_gateway.series.export import Source, as_csv
from thingroom_gateway.storage.series import StoredReading, stored_readings

# What most homeservers take without a word is 50 MB; this is some 100,000 readings.
MAX_BYTES: Final = 10_000_000
MAX_DEVICES: Final = 50


def _rows(
    connection: sqlite3.Connection, device: Device, quantities: Sequence[str], begin: int, end: int
) -> Iterator[StoredReading]:
    for name in quantities or (None,):
        yield from stored_readings(connection, device.row.id, name, begin, end)


async def answer_export(request: Export, where: Where, tools: Tools) -> Answer:
    devices = where.chosen(request.targets)
    quantities = request.targets.quantities
    if quantities:
        devices = [device for device in devices if set(quantities) & set(device.profile.quantities)]
    if not devices:
        return Answer("There is nothing of that here.")
    if len(devices) > MAX_DEVICES:
        return Answer(f"Those are {len(devices)} devices. Name some, or use `thingroom export` on the gateway.")
    begin, end = range_of(request.span, tools.now_ms(), tools.zone)

    def read(connection: sqlite3.Connection) -> bytes | None:
        readings = [
            (Source(device.row.kid, device.row.name), _rows(connection, device, quantities, begin, end))
            for device in devices
        ]
        data = bytearray()
        for piece in as_csv(readings):
            data += piece.encode()
            if len(data) > MAX_BYTES:
                return None
        return bytes(data)

    data = await tools.database.read_in_thread(read)
    if data is None:
        return Answer(
            "That is too much for one file. Ask for a shorter time, or use `thingroom export` on the gateway."
        )
    count = data.count(b"\n") - 1
    if count <= 0:
        return Answer("There is nothing in that time.")
    name = devices[0].row.name if len(devices) == 1 else "readings"
    filename = f"{''.join(char if char.isalnum() or char in ' -_' else '_' for char in name)}.csv"
    return Answer(attachments=[Attachment(data, "text/csv", filename, f"{filename}, {count} readings")])
