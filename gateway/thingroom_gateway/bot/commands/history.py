"""history: a short table of what was stored."""

from __future__ import annotations

import sqlite3
from typing import Final

from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.conversation import Tools, Where, range_of
from thingroom_gateway.bot.requests import History
from thingroom_gateway.devices import Device
from thingroom_gateway.series.table import Table, history_of

MAX_LINES: Final = 40
MAX_TABLES: Final = 4
_STEPS: Final = ("5min", "15min", "hour", "6hours", "day", "week", "month")
_SIZES: Final = (300, 900, 3600, 21_600, 86_400, 604_800, 2_592_000)


async def answer_history(request: History, where: Where, tools: Tools) -> Answer:
    wanted = request.targets.quantities
    devices = [
        device
        for device in where.chosen(request.targets)
        if not wanted or request.targets.devices or set(wanted) & set(device.profile.quantities)
    ]
    if not devices:
        return Answer("Nothing here measures that.")
    if len(devices) > MAX_TABLES:
        names = ", ".join(device.row.name for device in devices[:10])
        return Answer(f"Of which device? There are {names}.")
    most = MAX_LINES // len(devices)
    begin, end = range_of(request.span, tools.now_ms(), tools.zone)
    step = step_for(end - begin, most)

    def read(connection: sqlite3.Connection) -> list[Table]:
        return [
            history_of(connection, device, _quantities(device, wanted), begin, end, tools.zone, step)
            for device in devices
        ]

    tables = zip(devices, await tools.database.read_in_thread(read), strict=True)
    answers = [_table_text(device, table, most) for device, table in tables]
    return Answer("\n\n".join(text for text, _ in answers), "".join(marked for _, marked in answers))


def _quantities(device: Device, wanted: tuple[str, ...]) -> tuple[str, ...]:
    known = device.profile.quantities
    return tuple(name for name in wanted if name in known) or tuple(
        name for name, quantity in known.items() if not quantity.quiet
    )


def _table_text(device: Device, table: Table, most: int) -> tuple[str, str]:
    """A device's table as text and as HTML. Pure."""
    if not table.lines:
        text = f"There is nothing of {device.row.name} in that time."
        return text, f"<p>{_escaped(text)}</p>"
    lines = table.lines[-most:]
    rows = [table.titles, *lines]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.titles))]
    text = "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    head = f"{device.row.name}" + (f", the last {most} of {len(table.lines)}" if len(lines) < len(table.lines) else "")
    return f"{head}\n{text}", f"<strong>{_escaped(head)}</strong><pre><code>{_escaped(text)}</code></pre>"


def step_for(length_ms: int, most: int = MAX_LINES) -> str:
    """The step that makes at most `most` lines of a stretch of time."""
    fitting = (name for name, size in zip(_STEPS, _SIZES, strict=True) if length_ms <= size * 1000 * most)
    return next(fitting, _STEPS[-1])


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
