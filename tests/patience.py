"""How long tests wait for something to happen before they say that it did not.

Waiting costs nothing where it happens, so this is more than the slowest machine needs: two busy cores and a disk that
now and then takes seconds to sync. A wait that must end early (that nothing happens, or that something is quick) has
a number of its own where it stands.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

PATIENCE_SECONDS = 60.0


def tries() -> Iterator[None]:
    """`for _ in tries():` looks again and again, with a pause of its own, until PATIENCE_SECONDS have passed."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        yield
