"""What happens in one run of a story, second by second: for the ledger at its end and for the report.

A console's events come in through `hear`; whoever does something to a board or sees something elsewhere notes it.
May import the standard library only. books.py makes the ledger of it, report.py the page.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ledger:
    """The readings of one board in one run, counted.

    `made`: its console said so. `unsaid`: in the room, and the power went before the console could say so. `gaps`: runs
    of numbers that no reading has, each explained by the next reading, which names the one before it.
    """

    made: int
    acknowledged: int
    in_room: int
    lost: int
    duplicates: int
    unsaid: int
    gaps: int

    @property
    def is_balanced(self) -> bool:
        """Made = in the room + declared lost; nothing twice."""
        return self.made + self.unsaid == self.in_room + self.lost and not self.duplicates


@dataclass
class Record:
    """`entries` are (seconds since the beginning, kind, detail)."""

    story: str
    board: str
    entries: list[tuple[float, str, str]] = field(default_factory=list)
    sampled: list[int] = field(default_factory=list)
    acknowledged: set[int] = field(default_factory=set)
    lost: int = 0
    starts: int = 0
    ledger: Ledger | None = None
    began: float = field(default_factory=time.monotonic)

    def note(self, kind: str, detail: str = "") -> None:
        """Something happened now."""
        self.entries.append((round(time.monotonic() - self.began, 3), kind, detail))

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take an event of the node's console."""
        match event.get("event"):
            case "sampled":
                self.sampled.append(event["sequence"])
                self.note("sampled", str(event["sequence"]))
            case "acknowledged":
                waiting = set(self.sampled) - self.acknowledged
                heard = {n for n in waiting if any(first <= n <= last for first, last in event["ranges"])}
                self.acknowledged |= heard
                self.note("acknowledged", str(len(heard)))
            case "lost":
                self.lost = event["total"]
                self.note("lost", str(event["total"]))
            case "key":
                self.starts += 1
                self.note("started", f"boot {event['boot']}")
            case "link":
                self.note(f"link {event['state']}", event.get("reason", ""))
            case "sensor_failed" | "storage_failed" | "stopped" | "refused" | "damaged" as kind:
                self.note(kind, json.dumps(dict(event)))
            case "enrolled" | "clock" | "command" as kind:
                self.note(kind)

    def write(self, folder: Path, outcome: str) -> None:
        """Put the run into a file of `folder`, for report.py."""
        folder.mkdir(parents=True, exist_ok=True)
        name = "".join(letter if letter.isalnum() else "_" for letter in f"{self.story}-{self.board}")
        said = {
            "story": self.story,
            "board": self.board,
            "outcome": outcome,
            "seconds": round(time.monotonic() - self.began, 1),
            "starts": self.starts,
            "ledger": asdict(self.ledger) if self.ledger else None,
            "entries": self.entries,
        }
        (folder / f"{name}.json").write_text(json.dumps(said))
