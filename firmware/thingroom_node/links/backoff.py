"""How long to wait before trying again: doubling, with jitter, bounded. Pure; randomness is handed in.

Jitter keeps the nodes of a house from coming back in step after a power cut. Used by runner.py for links and pairing.
"""


class Backoff:
    """`random_below(n)` returns an integer from 0 to n-1. Times are milliseconds."""

    def __init__(self, random_below, first_ms, max_ms):
        self._random_below = random_below
        self._first_ms = first_ms
        self._max_ms = max_ms
        self._next_ms = first_ms

    def next_ms(self):
        """The wait before the next try: between half and all of a span that doubles each time."""
        span = self._next_ms
        self._next_ms = min(span * 2, self._max_ms)
        return span // 2 + self._random_below(span // 2 + 1)

    def reset(self):
        """It worked: begin with the shortest wait again."""
        self._next_ms = self._first_ms
