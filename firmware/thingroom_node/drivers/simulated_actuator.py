"""An actuator that is not there: a latching one, whose state and number of movements are in a file.

So a home can be tried out without hardware, and tests can count how often something really happened. May import
durable.
"""

import time

from thingroom_node import durable
from thingroom_wire import cbor


class SimulatedActuator:
    """`initial` is its value at the first start; a movement takes `delay_ms`, as motors and relays do."""

    def __init__(self, path, initial, delay_ms):
        self._path = path
        self._delay_ms = delay_ms
        stored = durable.read_checked(path)
        self._value, self.movements = cbor.decode(stored) if stored is not None else (initial, 0)

    def write(self, value):
        """Move to `value`; counted once it is there. Raises OSError."""
        time.sleep_ms(self._delay_ms)
        durable.write_atomic(self._path, cbor.encode([value, self.movements + 1]))
        self._value = value
        self.movements += 1

    def read(self):
        """Where it is."""
        return self._value
