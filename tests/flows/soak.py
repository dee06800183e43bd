"""How long the long stories are: in a test run short, in full with THINGROOM_SOAK=1 (`make soak`), or a share of that.

With THINGROOM_SOAK=0.1 two days of outage are a tenth of their readings.
"""

from __future__ import annotations

import os

SOAK = float(os.environ.get("THINGROOM_SOAK", "0"))


def soaked(short: int, full: int) -> int:
    """`full` times the share that is asked for, but never less than `short`."""
    return max(short, round(full * SOAK))
