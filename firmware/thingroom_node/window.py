"""Which envelopes to send now. Pure: places and the time go in, places come out.

Oldest first, at most `SIZE` unanswered at a time. One place of the window is kept for the newest reading, which goes
out after every few older ones, so a long backlog neither delays it nor starves. When nothing is answered for a while,
one envelope is sent again as a probe, less and less often: a broker that holds our messages for a gateway that is away
must not fill up with repeats. The first answer ends the probing. May import nothing. runner.py drives it.
"""

SIZE = 16
NEWEST_EVERY = 4
RESEND_MS = 15_000
MAX_RESEND_MS = 120_000


class Window:
    """Unanswered envelopes by number. Times are uptimes in milliseconds."""

    def __init__(self, size=SIZE, resend_ms=RESEND_MS, max_resend_ms=MAX_RESEND_MS):
        self._size = size
        self._resend_ms = resend_ms
        self._max_resend_ms = max(resend_ms, max_resend_ms)
        self._sent = {}
        self._newest_sent = 0
        self._since_newest = NEWEST_EVERY
        self._walked = 0
        self._probe_after = resend_ms
        self._probed_at = None
        self._heard_at = -1

    def __len__(self):
        return len(self._sent)

    def choose(self, outbox, now):
        """The Place to send next, or None. `outbox` has `next_pending(after)` and `newest_pending()`."""
        if self._since_newest >= NEWEST_EVERY and len(self._sent) < self._size:
            newest = outbox.newest_pending()
            if newest is not None and newest.sequence not in self._sent and self._newest_sent not in self._sent:
                return newest
        older = len(self._sent) - (1 if self._newest_sent in self._sent else 0)
        if older < self._size - 1:
            place = self._oldest_unsent(outbox)
            if place is not None:
                return place
        return self._to_repeat(now)

    def sent(self, place, now, is_newest):
        """`place` went out at `now`."""
        self._sent[place.sequence] = (place, now)
        self._since_newest += 1
        if is_newest:
            self._newest_sent = place.sequence
            self._since_newest = 0

    def heard(self, first, last, now):
        """The gateway settled the numbers `first` to `last`."""
        for sequence in [sequence for sequence in self._sent if first <= sequence <= last]:
            del self._sent[sequence]
        self._heard_at = now
        self._probed_at = None
        self._probe_after = self._resend_ms

    def drop(self, sequence):
        """The record is unreadable, or could not be sent: it is not under way."""
        self._sent.pop(sequence, None)
        self._walked = min(self._walked, sequence - 1)

    def new_link(self):
        """The link is new: what is unanswered may be under way still, but there is reason to probe soon."""
        self._probed_at = None
        self._probe_after = self._resend_ms

    def wait_ms(self, now):
        """Milliseconds until `choose` may have something to repeat, or None when nothing is unanswered."""
        if not self._sent:
            return None
        return max(0, self._due() - now)

    def _oldest_unsent(self, outbox):
        # Everything pending up to `_walked` is under way.
        while True:
            place = outbox.next_pending(self._walked)
            if place is None or place.sequence not in self._sent:
                return place
            self._walked = place.sequence

    def _oldest_sent(self):
        return min(self._sent.values(), key=lambda entry: entry[1])

    def _due(self):
        oldest = self._oldest_sent()[1] + self._resend_ms
        if self._probed_at is not None:
            return max(oldest, self._probed_at + self._probe_after)
        return oldest

    def _to_repeat(self, now):
        if not self._sent or now < self._due():
            return None
        place, sent_at = self._oldest_sent()
        if self._heard_at < sent_at:
            # Silence since this one went out: probe, and wait longer before the next probe.
            if self._probed_at is not None:
                self._probe_after = min(self._probe_after * 2, self._max_resend_ms)
            self._probed_at = now
        return place
