"""A relay, a socket, a lamp: one pin, on or off. Profiles switch, relay4."""


class Relay:
    """`pin` is like machine.Pin, off already; whether on is low is the board's business (see ../hardware.py)."""

    def __init__(self, pin):
        self._pin = pin
        self._is_on = False

    def write(self, value):
        """True or False."""
        self._pin.value(1 if value else 0)
        self._is_on = bool(value)

    def read(self):
        """What it was told last; False after a reset."""
        return self._is_on
