"""A version on trial: a reading that it took and that the gateway has acknowledged confirms it; else it is given up.

May import slots. composition.py makes a Trial where there is one, runner.py tells it of acknowledgements.
"""

from thingroom_node.update import slots


class Trial:
    """`first` is the least number that a reading of this run can have."""

    def __init__(self, root, slot, first):
        self._root = root
        self._slot = slot
        self._first = first
        self.is_over = False

    def acknowledged(self, last):
        """The gateway has the reading `last`. Returns whether that confirms this version. Raises OSError."""
        if self.is_over or last < self._first:
            return False
        state = slots.read(self._root, self._slot)
        state["active"] = self._slot
        state["trial"] = ""
        state["tries"] = 0
        state["outcome"] = "done"
        state["floor"] = max(state["floor"], state["number"])
        slots.write(self._root, state)
        self.is_over = True
        return True

    async def watch(self, sleep_ms, reset):
        """Go back to the version before, by a reset, when nothing has confirmed this one in its time."""
        state = slots.read(self._root, self._slot)
        await sleep_ms(state["patience"] * 1000)
        if not self.is_over:
            state = slots.read(self._root, self._slot)
            state["reason"] = "no_healthy_reading"
            state["tries"] = slots.GIVEN_UP
            slots.write(self._root, state)
            reset()
