"""Instructions on a Cortex-M3, counted by QEMU: a signature, a reading, a start. The same figures on every machine.

The seconds of an RP2040 beside them are an estimate: 133 MHz, and as many cycles as instructions; its Cortex-M0+ has
no long multiplication and fewer registers to hand, so the real figure is higher. What runs is cortex_m3_workload.py.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
from collections import defaultdict
from pathlib import Path

from hil.application import application
from hil.boards.cortex_m3 import CortexM3
from rich.console import Console
from rich.table import Table

WORKLOAD = Path(__file__).parent / "cortex_m3_workload.py"
RP2040_HZ = 133_000_000
NAMES = {
    "sign": "a signature (Ed25519)",
    "encode": "a reading into CBOR",
    "store": "storing it (littlefs on EEPROMs, the bus driven bit by bit)",
    "reading": "all of a reading",
    "first boot": "the first start, which makes the keys",
    "boot": "a later start, until it samples",
}
SETTINGS = {
    "profile": "lm75",
    "link": "serial",
    "sensors": [{"driver": "tmp105"}],
    "gateway": {"key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "agreement_key": "09" * 32},
}


def main() -> dict[str, float]:
    """Count, print the table, and return the medians in instructions."""
    figures = asyncio.run(_count())
    table = Table(title="Instructions on a Cortex-M3 (medians)", title_justify="left")
    for heading in ("what", "millions", "about, on an RP2040"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for name, title in NAMES.items():
        count = figures[name]
        table.add_row(title, f"{count / 1e6:.2f}", f"{count / RP2040_HZ * 1e3:.0f} ms")
    Console().print(table)
    return {f"instructions.{name.replace(' ', '_')}": count for name, count in figures.items()}


async def _count() -> dict[str, float]:
    """Two starts of one board; name to instructions."""
    with tempfile.TemporaryDirectory() as folder:
        board = CortexM3(Path(folder), application(WORKLOAD.read_text()), counted=True)
        board.configure({**board.own_settings, **SETTINGS})
        lives = []
        for _ in range(2):
            mark = len(board.console.lines)
            await board.power_on()
            code = await board.ended()
            lines = list(board.console.lines)[mark:]
            assert code == 0, "\n".join(lines)
            lives.append(_figures(lines))
    return {**lives[1], "first boot": lives[0]["boot"]}


def _figures(lines: list[str]) -> dict[str, float]:
    found: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        name, tab, count = line.partition("\t")
        if tab:
            found[name].append(int(count))
    return {name: statistics.median(counts) for name, counts in found.items()}


if __name__ == "__main__":
    main()
