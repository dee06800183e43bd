"""The page about a run of the bench: what ran where, how long, the ledgers, and a timeline of each run as SVG.

Made of the records that the stories leave (record.py). `write(folder)` puts index.html there; `page` is pure.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

WIDTH, LANE, LEFT = 900, 22, 130
# Lanes from the top; what has none of its own is an act of the story.
LANES = ("story", "started", "link", "sampled", "acknowledged", "trouble")
TROUBLE = ("lost", "damaged", "refused", "stopped", "sensor_failed", "storage_failed", "link down")
COLOURS = ("#6b4fbb", "#1f78b4", "#888888", "#2a9d5c", "#e0a100", "#d33f3f")
COLUMNS = (
    ("made", "readings made"),
    ("acknowledged", "acknowledged"),
    ("in_room", "in the room"),
    ("lost", "declared lost"),
    ("duplicates", "duplicates"),
    ("unsaid", "stored, never said"),
    ("gaps", "explained gaps"),
)
STYLE = (
    "body{font:15px system-ui,sans-serif;margin:2em auto;max-width:1150px;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.3em .5em;border-bottom:1px solid #ddd;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.failed{color:#b00}svg{width:100%;background:#fafafa}"
)


def write(folder: Path) -> Path:
    """Make the page of the records in `folder`; its path."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    target = folder / "index.html"
    target.write_text(page(runs), encoding="utf-8")
    return target


def page(runs: Sequence[dict[str, Any]]) -> str:
    """HTML about `runs`, as Record.write writes them."""
    heads = "".join(f"<th>{escape(title)}</th>" for _, title in COLUMNS)
    rows = "".join(_row(run) for run in runs)
    minutes = sum(run["seconds"] for run in runs) / 60
    failed = sum(run["outcome"] != "passed" for run in runs)
    plots = "".join(
        f"<h2>{escape(_title(run))} <small>on {escape(run['board'])}</small></h2>{timeline(run)}" for run in runs
    )
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Bench</title><style>{STYLE}</style>'
        f"<h1>{len(runs)} stories in {minutes:.1f} minutes, {failed} failed</h1>"
        f"<table><tr><th>story</th><th>board</th><th>outcome</th><th>seconds</th><th>starts</th>{heads}</tr>{rows}"
        f"</table>{plots}</html>\n"
    )


def timeline(run: dict[str, Any]) -> str:
    """An SVG: a lane for each kind of event, time from left to right; what each is stands in its title."""
    end = max((entry[0] for entry in run["entries"]), default=0) or 1
    height = LANE * len(LANES) + 20
    parts = []
    for number, name in enumerate(LANES):
        y = LANE * number + LANE // 2
        parts.append(f'<line x1="{LEFT}" y1="{y}" x2="{WIDTH}" y2="{y}" stroke="#ddd"/>')
        parts.append(f'<text x="4" y="{y + 4}" font-size="12">{name}</text>')
    for seconds, kind, detail in run["entries"]:
        lane = _lane(kind)
        x, y = LEFT + (WIDTH - LEFT - 10) * seconds / end, LANE * lane + LANE // 2
        words = escape(f"{seconds:.2f} s: {kind} {detail}".strip())
        parts.append(f'<circle cx="{x:.1f}" cy="{y}" r="3.5" fill="{COLOURS[lane]}"><title>{words}</title></circle>')
    parts.append(f'<text x="{LEFT}" y="{height - 4}" font-size="12">0 s</text>')
    parts.append(f'<text x="{WIDTH}" y="{height - 4}" font-size="12" text-anchor="end">{end:.1f} s</text>')
    return f'<svg viewBox="0 0 {WIDTH} {height}" role="img">{"".join(parts)}</svg>'


def _lane(kind: str) -> int:
    if kind in TROUBLE:
        return LANES.index("trouble")
    if kind.startswith("link"):
        return LANES.index("link")
    return LANES.index(kind) if kind in LANES else 0


def _title(run: dict[str, Any]) -> str:
    return str(run["story"]).partition("[")[0].removeprefix("test_").replace("_", " ")


def _row(run: dict[str, Any]) -> str:
    ledger = run["ledger"] or {}
    cells = "".join(f"<td>{ledger.get(key, '')}</td>" for key, _ in COLUMNS)
    return (
        f"<tr class={run['outcome']}><td>{escape(_title(run))}</td><td>{escape(run['board'])}</td>"
        f"<td>{run['outcome']}</td><td>{run['seconds']}</td><td>{run['starts']}</td>{cells}</tr>"
    )
