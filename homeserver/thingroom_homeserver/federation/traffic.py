"""How much came from and went to other servers since the start: numbers for metrics.

May import nothing. Counted by federation_api/send.py and the sender's couriers, read by readings.py.
"""

from __future__ import annotations

from collections import Counter


class Traffic:
    """Transactions, events (PDUs) and ephemeral messages (EDUs), by name."""

    def __init__(self) -> None:
        self.received: Counter[str] = Counter(transactions=0, pdus=0, edus=0)
        self.sent: Counter[str] = Counter(transactions=0, pdus=0, edus=0)


def count(counter: Counter[str], pdus: int, edus: int) -> None:
    """One transaction with so much in it."""
    counter.update(transactions=1, pdus=pdus, edus=edus)
