"""Where readings are missing: gaps stay gaps in charts and tables.

Pure; imports the standard library only. storage/series.py asks here.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

# Missing is more than so many intervals without a reading.
EXPECTED_INTERVALS = 3
# The same where nobody said how far apart readings are: of what four in five of them are apart.
JUDGED_INTERVALS = 4
# From so many readings on it is believed that they come less often than was said.
ENOUGH = 10


def find_gaps(times: Sequence[int], width: int, expected_ms: int | None = None) -> list[tuple[int, int]]:
    """The (from, to) between ascending `times` (ms) that are too far apart.

    `width` is how long each of them stands for, 0 for an instant; `expected_ms` how far apart readings should be, None:
    judged by `times`, of which a few then are not enough to tell.
    """
    if len(times) < 2:
        return []
    apart = sorted(after - before for before, after in pairwise(times))
    usual = apart[(len(apart) - 1) * 8 // 10]
    if expected_ms is not None:
        # A device may have been told to measure less often than its profile says.
        slower = usual * EXPECTED_INTERVALS if len(times) >= ENOUGH and apart[len(apart) // 4] > expected_ms * 2 else 0
        limit = max(width * 1.5, expected_ms * EXPECTED_INTERVALS, slower)
    else:
        if not width and len(times) < 4:
            return []
        limit = width * 1.5 if usual <= width else max(width * 1.5, usual * JUDGED_INTERVALS)
    return [(before + width, after) for before, after in pairwise(times) if after - before > limit]
