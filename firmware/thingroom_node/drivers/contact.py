"""Something that is so or not so: a motion sensor, a door contact, a leak detector. Profiles motion, door, leak.

`pin` has `value()` and `was_active()`, whether it has become 1 since that was last asked; a motion between two samples
is not missed. The board also wakes the node when it changes (see ../hardware.py).
"""

from thingroom_node.drivers.sensor import Instant
from thingroom_wire.senml import Record


class Contact(Instant):
    """`quantity`: open, leak ..."""

    def __init__(self, pin, quantity="open"):
        self._pin = pin
        self._quantity = quantity

    def read(self):
        """As it is now."""
        return [Record(self._quantity, None, bool(self._pin.value()), 0)]


class Motion(Instant):
    """A passive infrared sensor or a radar."""

    def __init__(self, pin):
        self._pin = pin

    def read(self):
        """Whether something moves, or has moved since the last sample."""
        has_moved = self._pin.was_active()
        return [Record("motion", None, bool(self._pin.value()) or has_moved, 0)]
