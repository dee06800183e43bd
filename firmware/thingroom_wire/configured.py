"""What a device is configured to do. Imports nothing of ours; command.py has its bytes."""

from collections import namedtuple

Configuration = namedtuple(
    "Configuration", ("version", "interval_ms", "longest_ms", "name", "thresholds", "calibration")
)
"""version: grows; interval_ms: from sample to sample; longest_ms: the longest time without a reading while nothing
changes by its threshold; name: str; each None: as before enrolment. thresholds: dict of quantity to the least change
worth a reading; calibration: dict of quantity to (factor, offset), both int or Decimal."""
