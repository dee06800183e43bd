"""Which servers are left alone for now because they did not answer: what client.py asks, answered by the sender's book.

May import nothing.
"""

from __future__ import annotations

from typing import Protocol


class Reachability(Protocol):
    """What is known of other servers being there. All of it is quick: answered out of memory."""

    def may_try(self, destination: str) -> bool:
        """Whether the server may be asked now."""
        ...

    def failed(self, destination: str) -> None:
        """It could not be reached, or answered with a fault of its own (a 5xx)."""
        ...

    def succeeded(self, destination: str) -> None:
        """It answered."""
        ...


class AlwaysTry:
    """Remembers nothing."""

    def may_try(self, destination: str) -> bool:
        return True

    def failed(self, destination: str) -> None:
        pass

    def succeeded(self, destination: str) -> None:
        pass
