"""Which rules a device has without anybody asking, and the numbers that nobody gave.

Pure; may import profiles, rules. engine.py asks when a device is new; commands/alert.py for what a person asks for.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from thingroom_gateway.alerts.rules import Rule
from thingroom_gateway.profiles import Alert, Profile, Quantity

SILENT: Final = "silent"
CLOCK: Final = "clock"
# A device counts as silent after so many of its expected intervals, but not sooner than its profile says.
MISSED_INTERVALS: Final = 4


def presets(profile: Profile) -> dict[str, tuple[Rule, bool]]:
    """The profile's alerts by name, each with whether it is on from the start; silence and clock are always among them.

    A profile that has an alert for silence of its own gets no other.
    """
    found = {alert.name: (from_preset(alert, profile), alert.on) for alert in profile.alerts}
    if not any(rule.kind == "silence" for rule, _ in found.values()):
        found.setdefault(SILENT, (Rule("silence", within_ms=expected_silence_ms(profile)), True))
    found.setdefault(CLOCK, (Rule("clock"), True))
    return found


def from_preset(alert: Alert, profile: Profile) -> Rule:
    """The rule of a profile's alert."""
    hysteresis = alert.hysteresis
    quantity = profile.quantities.get(alert.quantity)
    if not hysteresis and quantity is not None and alert.threshold is not None:
        hysteresis = usual_hysteresis(quantity, alert.kind, alert.threshold)
    return Rule(
        alert.kind,
        alert.quantity,
        alert.threshold if alert.threshold is not None else Decimal(0),
        hysteresis,
        alert.within_ms or 0,
        text=alert.text,
    )


def expected_silence_ms(profile: Profile) -> int:
    """After how long without a word something is wrong with a device of this profile."""
    intervals = [quantity.interval_ms for quantity in profile.quantities.values() if quantity.interval_ms is not None]
    return max(profile.silent_after_ms, MISSED_INTERVALS * min(intervals, default=0))


def usual_hysteresis(quantity: Quantity, kind: str, threshold: Decimal) -> Decimal:
    """How far a value must come back where nobody said: a change worth a notice, or the last digit that is shown.

    In the quantity's own unit. For a rate a quarter of the change.
    """
    if kind == "rate":
        return abs(threshold) / 4
    if quantity.deadband is not None:
        return quantity.deadband
    digit = Decimal(1).scaleb(-quantity.precision)
    one = abs(quantity.difference_for_people(Decimal(1)))
    return digit / one if one else digit


def battery_rule(profile: Profile) -> Rule | None:
    """The alert for a low battery: the profile's own, else by its unit; None if it has no battery."""
    for alert in profile.alerts:
        if alert.kind == "battery":
            return from_preset(alert, profile)
    for quantity in profile.quantities.values():
        if quantity.kind == "number" and "battery" in quantity.name:
            if quantity.unit in ("%", "%EL", "/"):
                percent = Decimal("0.01") if quantity.unit == "/" else Decimal(1)
                return Rule("battery", quantity.name, 15 * percent, 10 * percent)
            return None
    return None
