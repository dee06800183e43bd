"""What a node can do besides measuring: named actuators with a kind, a range and a driver; their states are readings.

A driver has `write(value)` and `read()`, both may raise OSError; drivers/simulated_actuator.py is one. May import
thingroom_wire. commander.py sets them; runner.py puts `records` into every sample.
"""

from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record

KINDS = ("switch", "dimmer", "number", "select")


class Actuator:
    """`kind` is one of KINDS; `minimum`, `maximum` (int) are of dimmers and numbers, `options` of a select.

    `quantity` and `unit` are what its state is called in readings.
    """

    def __init__(self, name, kind, driver, quantity, unit, minimum, maximum, options):
        self.name = name
        self.kind = kind
        self.driver = driver
        self.quantity = quantity
        self.unit = unit
        self.minimum = minimum
        self.maximum = maximum
        self.options = options

    def accepts(self, value):
        """Whether `value`, as a command carries it, is one that this actuator can have."""
        kind = type(value)
        if self.kind == "switch":
            return kind is bool
        if self.kind == "select":
            return kind is str and value in self.options
        if kind is not int and kind is not Decimal:
            return False
        return not _is_less(value, self.minimum) and not _is_less(self.maximum, value)


class Actuators:
    """All of a node's, in the order of its settings."""

    def __init__(self, actuators):
        self._actuators = actuators

    def set(self, name, value):
        """Act. Returns the outcome: "done", "unknown_actuator", "bad_value" or "failed"."""
        for actuator in self._actuators:
            if actuator.name == name:
                if not actuator.accepts(value):
                    return "bad_value"
                try:
                    actuator.driver.write(value)
                except OSError:
                    return "failed"
                return "done"
        return "unknown_actuator"

    def records(self):
        """The states now, as SenML records; one that cannot be read is left out."""
        records = []
        for actuator in self._actuators:
            try:
                value = actuator.driver.read()
            except OSError:
                continue
            records.append(Record(actuator.quantity, actuator.unit, value, 0))
        return records


def _is_less(one, two):
    """Whether the number `one` is below `two`, exactly; each an int or a Decimal with a sane exponent."""
    one = one if type(one) is Decimal else Decimal(one, 0)
    two = two if type(two) is Decimal else Decimal(two, 0)
    if abs(one.exponent - two.exponent) > 40:
        # Not a number that anybody means; whichever way it compares, it is outside of every range.
        return True
    exponent = min(one.exponent, two.exponent)
    return one.mantissa * 10 ** (one.exponent - exponent) < two.mantissa * 10 ** (two.exponent - exponent)
