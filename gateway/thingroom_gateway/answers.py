"""Outcomes become what a device is told: ranges of sequences under its downlink key.

Pure; may import thingroom_wire, ledger, outcomes. links/ send what `Pending.take` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from thingroom_gateway.ledger import runs
from thingroom_gateway.outcomes import Accepted, Deferred, Duplicate, Outcome, Refused
from thingroom_wire.downlink import Answer, encode_answer

# What waits for one device at most; what is left out the device asks for again.
MAX_SEQUENCES: Final = 4096
# What goes into one answer at most, so that it stays within a device's limits on items and bytes.
MAX_RANGES: Final = 128
MAX_REFUSALS: Final = 64


@dataclass(slots=True)
class Pending:
    """What one device has not been told yet."""

    acknowledged: set[int] = field(default_factory=set)
    refused: dict[int, str] = field(default_factory=dict)
    pause: int = 0

    def __bool__(self) -> bool:
        return bool(self.acknowledged or self.refused or self.pause)

    def add(self, outcome: Outcome) -> None:
        """Note an Accepted, Duplicate, Refused or Deferred; other outcomes say nothing to a device here."""
        if type(outcome) is Deferred:
            self.pause = max(self.pause, outcome.pause)
            return
        if len(self.acknowledged) + len(self.refused) >= MAX_SEQUENCES:
            return
        if type(outcome) is Accepted or type(outcome) is Duplicate:
            self.acknowledged.add(outcome.sequence)
        elif type(outcome) is Refused:
            self.refused[outcome.sequence] = outcome.reason

    def take(self, downlink_key: bytes, kid: bytes, commands: Sequence[bytes] = ()) -> bytes:
        """The next COSE_Mac0 for the device `kid`, with `commands`; what it says is no longer pending."""
        acknowledged = runs(self.acknowledged)[:MAX_RANGES]
        refused: list[tuple[int, int, str]] = []
        for reason in sorted(set(self.refused.values())):
            refused += [(*run, reason) for run in runs(s for s, why in self.refused.items() if why == reason)]
        del refused[MAX_REFUSALS:]
        for first, last in acknowledged:
            self.acknowledged.difference_update(range(first, last + 1))
        for first, last, _ in refused:
            for sequence in range(first, last + 1):
                del self.refused[sequence]
        pause, self.pause = self.pause or None, 0
        answer = Answer(acknowledged, None, None, refused, None, None, list(commands), pause)
        encoded: bytes = encode_answer(downlink_key, kid, answer)
        return encoded
