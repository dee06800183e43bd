"""No sensor: for a node that only has actuators, whose states are its readings."""


class Nothing:
    """A driver without anything to measure."""

    def read(self):
        """The next sample: no records."""
        return []
