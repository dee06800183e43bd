"""Whether the loops of the node live: each promises when it will be back, and only while all keep that, a dog is fed.

A loop that hangs, in a driver, in a radio's firmware, in a bug, breaks its promise; the hardware's watchdog, unfed,
resets the board. Pure but for `sleep_ms`. runner.py promises, board.py has the dog.
"""

FEED_MS = 2000


class Watchdog:
    """`uptime` is a callable for milliseconds."""

    def __init__(self, uptime):
        self._uptime = uptime
        self._due = {}

    def promise(self, who, milliseconds):
        """The loop `who` will promise again within that time."""
        self._due[who] = self._uptime() + milliseconds

    def forget(self, who):
        """The loop `who` has ended as it should."""
        self._due.pop(who, None)

    def late(self):
        """The loops that broke their promise."""
        now = self._uptime()
        return [who for who, due in self._due.items() if due < now]

    async def feed_forever(self, feed, sleep_ms):
        """Call `feed()` every two seconds for as long as everybody keeps his promises."""
        while not self.late():
            feed()
            await sleep_ms(FEED_MS)
