"""What all sensors share: the one exception, records with a plausible range, and sensors that need no time.

May import thingroom_wire. The interface is described in __init__.py.
"""

from thingroom_wire.cbor import Decimal
from thingroom_wire.senml import Record


class SensorError(OSError):
    """A part does not do what its data sheet says; the message is a sentence for the person with the wires.

    `reason` is for counters: absent, wrong_part, no_answer, checksum, not_ready, damaged, implausible.
    """

    def __init__(self, reason, sentence):
        super().__init__(sentence)
        self.reason = reason


class Instant:
    """A sensor that only has `read()`: the value is there whenever it is asked for."""

    def probe(self):
        """Nothing to find."""
        return
        yield

    def measure(self):
        """The records of `read()`."""
        return self.read()
        yield


def measured(name, unit, number, exponent, low, high):
    """The Record of number × 10**exponent, taken now. SensorError unless it is within low to high (same exponent)."""
    if not low <= number <= high:
        raise SensorError("implausible", "the {} of {}e{} {} is out of range".format(name, number, exponent, unit))
    return Record(name, unit, Decimal(number, exponent) if exponent else number, 0)


def rounded(numerator, denominator):
    """numerator / denominator (positive) as the nearest integer, halves up."""
    return (numerator + denominator // 2) // denominator


def signed(number, bits):
    """The two's complement `number` of `bits` bits as a signed one."""
    return number - (1 << bits) if number >> (bits - 1) else number


def poll(is_ready, pause_ms, times, name):
    """Yield `pause_ms` until `is_ready()`; SensorError after `times` times: the part called `name` does not finish."""
    for _ in range(times):
        if is_ready():
            return
        yield pause_ms
    raise SensorError("not_ready", "the {} does not finish measuring".format(name))
