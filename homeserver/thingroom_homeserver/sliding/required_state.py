"""Which state events a client wants of a room: `required_state` of a list or a subscription, and several combined.

Pure. Source: MSC4186, "RequiredStateRequest"; the array form with `*`, `$ME` and `$LAZY` is that of the unstable path.
Next: request.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from thingroom_homeserver.storage.current_state import MEMBER

MAX_ELEMENTS = 300
Pattern = tuple[str | None, str | None]
"""(type, state key); None stands for any."""


class RequestError(ValueError):
    """What a client sent is not a sliding sync request; the text says why."""


@dataclass(frozen=True, slots=True)
class RequiredState:
    """What one list or subscription asks for.

    lazy: member events come as the timeline needs them; `include` names members by their state key only then.
    narrowed: types that the pattern (any, any) does not stand for.
    """

    include: frozenset[Pattern] = frozenset()
    exclude: frozenset[Pattern] = frozenset()
    narrowed: frozenset[str] = frozenset()
    lazy: bool = False

    def wants(self, event_type: str, state_key: str) -> bool:
        if any(_matches(pattern, event_type, state_key) for pattern in self.exclude):
            return False
        return any(self._includes(pattern, event_type, state_key) for pattern in self.include)

    def _includes(self, pattern: Pattern, event_type: str, state_key: str) -> bool:
        if not _matches(pattern, event_type, state_key):
            return False
        if self.lazy and event_type == MEMBER and pattern[1] is None:
            return False
        return pattern != (None, None) or event_type not in self.narrowed


Combined = frozenset[RequiredState]
"""The union of what several lists and subscriptions ask for."""


def wants(combined: Combined, event_type: str, state_key: str) -> bool:
    return any(required.wants(event_type, state_key) for required in combined)


def is_lazy(combined: Combined) -> bool:
    return any(required.lazy for required in combined)


def parse_required_state(value: Any, user_id: str) -> RequiredState:
    """From decoded JSON in either form (None: nothing); `user_id` is what `$ME` stands for. Raises RequestError."""
    if value is None:
        return RequiredState()
    if isinstance(value, list):
        return _from_pairs(value, user_id)
    if not isinstance(value, dict):
        raise RequestError("required_state must be an object or a list")
    lazy = value.get("lazy_members", False)
    if not isinstance(lazy, bool):
        raise RequestError("lazy_members must be true or false")
    return RequiredState(_elements(value, "include"), _elements(value, "exclude"), lazy=lazy)


def _from_pairs(value: list[Any], user_id: str) -> RequiredState:
    if len(value) > MAX_ELEMENTS:
        raise RequestError(f"required_state has more than {MAX_ELEMENTS} entries")
    include: set[Pattern] = set()
    lazy = False
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise RequestError("required_state must hold pairs of type and state key")
        event_type, state_key = pair
        if event_type == MEMBER and state_key == "$LAZY":
            lazy = True
            continue
        key = user_id if state_key == "$ME" else state_key
        include.add((None if event_type == "*" else event_type, None if key == "*" else key))
    named = {event_type for event_type, key in include if event_type is not None and key is not None}
    return RequiredState(frozenset(include), narrowed=frozenset(named), lazy=lazy)


def _elements(value: dict[str, Any], name: str) -> frozenset[Pattern]:
    elements = value.get(name)
    if elements is None:
        return frozenset()
    if not isinstance(elements, list) or len(elements) > MAX_ELEMENTS:
        raise RequestError(f"{name} must be a list of at most {MAX_ELEMENTS} objects")
    found: set[Pattern] = set()
    for element in elements:
        if not isinstance(element, dict):
            raise RequestError(f"{name} must hold objects")
        event_type, state_key = element.get("type"), element.get("state_key")
        if not isinstance(event_type, str | None) or not isinstance(state_key, str | None):
            raise RequestError(f"{name}: type and state_key must be strings")
        found.add((event_type, state_key))
    return frozenset(found)


def dump(combined: Combined) -> list[Any]:
    """As JSON values, for storage."""
    return sorted(
        ([_sorted(one.include), _sorted(one.exclude), sorted(one.narrowed), one.lazy] for one in combined),
        key=orjson.dumps,
    )


def load(value: list[Any]) -> Combined:
    """What `dump` gave."""
    return frozenset(
        RequiredState(
            frozenset((first, second) for first, second in include),
            frozenset((first, second) for first, second in exclude),
            frozenset(narrowed),
            lazy,
        )
        for include, exclude, narrowed, lazy in value
    )


def _sorted(patterns: frozenset[Pattern]) -> list[Pattern]:
    return sorted(patterns, key=lambda pattern: (pattern[0] or "", pattern[1] or "", pattern[0] is None))


def _matches(pattern: Pattern, event_type: str, state_key: str) -> bool:
    return (pattern[0] is None or pattern[0] == event_type) and (pattern[1] is None or pattern[1] == state_key)
