"""What the gateway has configured: how often to sample, which changes are worth a reading, and the calibration.

The newest configuration is one file, replaced atomically; it counts from the moment it is stored. `calibrated` and
`Sieve` are pure. May import thingroom_wire and durable. commander.py replaces it, runner.py asks it.
"""

from thingroom_node import durable, memory
from thingroom_wire.cbor import Decimal
from thingroom_wire.configured import Configuration
from thingroom_wire.errors import WireError
from thingroom_wire.senml import Record

NONE = Configuration(0, None, None, None, {}, {})
# Without `longest_ms`: so many samples may go by without a reading.
LONGEST_SAMPLES = 60
# Of a sample that shows a change, where others are worth keeping only.
URGENT = 2
_FAR = 40
_LIMIT = 1 << 62


class ConfigurationFile:
    """`current` is the Configuration that counts; version 0: none was ever sent."""

    def __init__(self, path, current):
        self._path = path
        self.current = current

    def replace(self, configuration):
        """Returns the outcome, "done" or "old_version"; durable on return. Raises OSError: then nothing has changed."""
        if configuration.version <= self.current.version:
            return "old_version"
        from thingroom_wire import command

        durable.write_atomic(self._path, command.encode_configuration(configuration))
        memory.unload("thingroom_wire.command")
        self.current = configuration
        return "done"


def open_configuration(path):
    """The ConfigurationFile at `path`. Raises StorageError when it is damaged."""
    stored = durable.read_checked(path)
    if stored is None:
        return ConfigurationFile(path, NONE)
    from thingroom_wire import command

    try:
        return ConfigurationFile(path, command.parse_configuration(stored))
    except WireError:
        raise durable.StorageError(path + " was written by another version.")
    finally:
        memory.unload("thingroom_wire.command")


def calibrated(records, calibration):
    """`records` with measured × factor + offset where `calibration` has the quantity; exact, but for huge numbers."""
    if not calibration:
        return records
    return [
        Record(record.name, record.unit, _corrected(record.value, calibration[record.name]), record.time)
        if record.name in calibration and type(record.value) in (int, Decimal)
        else record
        for record in records
    ]


def _corrected(value, pair):
    measured, factor, offset = _as_decimal(value), _as_decimal(pair[0]), _as_decimal(pair[1])
    mantissa, exponent = measured.mantissa * factor.mantissa, measured.exponent + factor.exponent
    if not -_FAR < exponent - offset.exponent < _FAR:
        return value
    common = min(exponent, offset.exponent)
    total = mantissa * 10 ** (exponent - common) + offset.mantissa * 10 ** (offset.exponent - common)
    while common < 0 and (total % 10 == 0 or not -_LIMIT < total < _LIMIT):
        total //= 10
        common += 1
    if not -_LIMIT < total < _LIMIT:
        return value
    return total if common == 0 else Decimal(total, common)


def _as_decimal(number):
    return number if type(number) is Decimal else Decimal(number, 0)


class Sieve:
    """Remembers what was reported last, to tell which samples are worth a reading."""

    def __init__(self):
        self._kept = {}
        self._kept_at = None

    def is_worth(self, records, configuration, interval_ms, uptime):
        """Whether to keep `records`: no thresholds, long silence, or a change that reaches its threshold.

        A quantity without a threshold counts when it is no number and has changed. URGENT: somebody waits for that.
        """
        if not configuration.thresholds or self._kept_at is None:
            return True
        if uptime - self._kept_at >= (configuration.longest_ms or interval_ms * LONGEST_SAMPLES):
            return True
        for record in records:
            before = self._kept.get(record.name)
            threshold = configuration.thresholds.get(record.name)
            if before is None:
                return True
            if type(record.value) not in (int, Decimal) or type(before) not in (int, Decimal):
                if record.value != before:
                    return URGENT
            elif threshold is not None and _difference_reaches(record.value, before, threshold):
                return URGENT
        return False

    def kept(self, records, uptime):
        """`records` were reported at `uptime`."""
        for record in records:
            self._kept[record.name] = record.value
        self._kept_at = uptime


def _difference_reaches(one, two, threshold):
    numbers = [_as_decimal(one), _as_decimal(two), _as_decimal(threshold)]
    common = min([number.exponent for number in numbers])
    if max([number.exponent for number in numbers]) - common > _FAR:
        return True
    one, two, threshold = [number.mantissa * 10 ** (number.exponent - common) for number in numbers]
    return abs(one - two) >= threshold
