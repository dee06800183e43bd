"""The two answers of the authorisation rules.

Imports nothing of ours. Next: checks.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias


@dataclass(frozen=True, slots=True)
class Allowed:
    """The event passes."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """The event fails. `rule` is its number in room version 12, or "v1:..." for a rule only older versions have."""

    reason: str
    rule: str


Verdict: TypeAlias = Allowed | Rejected

ALLOWED: Final = Allowed()
