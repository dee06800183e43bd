"""What the board's own light says about the node: a pattern for each state. Pure but for `sleep_ms`.

| pattern | meaning |
|---|---|
| on for long, off for short | waits to be paired |
| two short flashes | no link to the gateway |
| one short flash every two seconds | all is well |
| quick flashing | a sensor or the storage fails |
| one long flash | a reading goes out |

May import nothing. runner.py tells the state.
"""

PAIRING, NO_LINK, WELL, ERROR, SENDING = range(5)

# Milliseconds on, off, on, off ...
PATTERNS = (
    (900, 100),
    (100, 150, 100, 1650),
    (40, 1960),
    (100, 100, 100, 100, 100, 100),
    (400, 100),
)


class Signs:
    """`state` lasts, `show` overrides it for one pattern."""

    def __init__(self):
        self.state = NO_LINK
        self._once = None

    def show(self, state):
        """Show the pattern of `state` once, then go on."""
        self._once = state

    def next(self):
        """The pattern to show now: milliseconds on, off, on, off ..."""
        once, self._once = self._once, None
        return PATTERNS[self.state if once is None else once]

    async def show_forever(self, light, sleep_ms):
        """`light` is a callable: True for on."""
        while True:
            is_on = True
            for milliseconds in self.next():
                light(is_on)
                await sleep_ms(milliseconds)
                is_on = not is_on
