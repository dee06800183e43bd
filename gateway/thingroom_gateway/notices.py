"""When a device is worth a sentence in the room: the policy of its profile.

Pure; may import profiles, observation. announce.py asks it once a round for the newest observation of a device.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final, Literal

from thingroom_gateway.observation import describe
from thingroom_gateway.profiles import Profile

# A live message is followed by a new one after so many edits, or so long after its beginning.
MAX_EDITS: Final = 500
RENEW_MS: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Said:
    """What the last notice of a device said: the values by quantity name, and the reading's time in Unix ms."""

    latest: dict[str, str]
    ts: int


@dataclass(frozen=True, slots=True)
class Live:
    """A device's message in the room of `place` that is edited: its transaction, when it began, how often it did."""

    place: str
    opening: str
    opened_at: int
    edits: int = 0


def live_step(
    profile: Profile,
    live: Live | None,
    said: Said | None,
    place: str,
    latest: dict[str, str],
    ts: int,
    now: int,
    gap_ms: int,
) -> Literal["open", "edit", "later", "nothing"]:
    """What becomes of a device's live message when it reads `latest` at `ts` in `place`.

    `live` is the message that can be edited, `said` what was said last, in it or before. Edits are `gap_ms` apart: an
    edit disturbs nobody, so any change that people would see is worth one, and after `at_most` the mere time is. What
    comes too soon for an edit is worth one later.
    """
    passed = ts - said.ts if said is not None else None
    if said is not None and passed is not None and passed < gap_ms:
        before, after = describe(profile, said.latest), describe(profile, {**said.latest, **latest})
        return "later" if passed > 0 and before != after else "nothing"
    if live is None or live.place != place or live.edits >= MAX_EDITS or now - live.opened_at >= RENEW_MS:
        return "open"
    if said is None or passed is None or passed >= profile.at_most_ms:
        return "edit"
    before, after = describe(profile, said.latest), describe(profile, {**said.latest, **latest})
    return "nothing" if before == after else "edit"


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


def worth_one_later(profile: Profile, said: Said | None, latest: dict[str, str], ts: int) -> bool:
    """Whether `latest`, read at `ts`, would be worth a notice if it did not come so soon after the last one."""
    if said is None or not 0 < ts - said.ts < profile.at_least_ms:
        return False
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
