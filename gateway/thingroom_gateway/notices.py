"""When a device is worth a sentence in the room: the policy of its profile.

Pure; may import profiles. batching.py asks it once a round for the newest observation of a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from thingroom_gateway.profiles import Profile


@dataclass(frozen=True, slots=True)
class Said:
    """What the last notice of a device said: the values by quantity name, and the reading's time in Unix ms."""

    latest: dict[str, str]
    ts: int


def worth_a_notice(profile: Profile, said: Said | None, latest: dict[str, str], ts: int) -> bool:
    """Whether `latest`, read at `ts` (Unix ms), should be said after `said`.

    Never within `at_least` of the last notice; on a change beyond a quantity's deadband, on any change of a boolean or
    text, on a quantity not said before; and in any case after `at_most`.
    """
    if said is None:
        return True
    passed = ts - said.ts
    if passed <= 0 or passed < profile.at_least_ms:
        return False
    if passed >= profile.at_most_ms:
        return True
    return any(_changed(profile, said.latest, name, text) for name, text in latest.items())


def _changed(profile: Profile, said: dict[str, str], name: str, text: str) -> bool:
    quantity = profile.quantities[name]
    if quantity.quiet:
        return False
    before = said.get(name)
    if before is None:
        return True
    if quantity.kind != "number":
        return before != text
    return quantity.deadband is not None and abs(Decimal(text) - Decimal(before)) >= quantity.deadband
