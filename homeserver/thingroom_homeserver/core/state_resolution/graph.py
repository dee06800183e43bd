"""The room's events as state resolution sees them: the sets to resolve, the graph of auth_events, what conflicts.

Imports auth_rules, event, room_rules. Definitions are those of "State resolution" in room versions 2 and 12.
Next: ordering.py, then v2.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from thingroom_homeserver.core.auth_rules import StateKey
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import RoomRules

StateMap: TypeAlias = Mapping[StateKey, str]
FetchEvent: TypeAlias = Callable[[str], Event | None]
AuthChain: TypeAlias = Callable[[Iterable[str]], Iterable[str]]
IsRejected: TypeAlias = Callable[[str], bool]


class RoomGraph:
    """What the algorithms ask about one room during one resolution. Remembers the events that it fetched."""

    def __init__(
        self,
        rules: RoomRules,
        state_sets: Sequence[StateMap],
        fetch_event: FetchEvent,
        auth_chain: AuthChain | None,
        is_rejected: IsRejected,
    ) -> None:
        self.rules = rules
        self.state_sets = state_sets
        self.is_rejected = is_rejected
        self._fetch = fetch_event
        self._auth_chain = auth_chain
        self._known: dict[str, Event | None] = {}
        self._agreed, self._apart = _compared(state_sets)
        self.create = self._find_create()

    def event(self, event_id: str) -> Event | None:
        """The event, None when nobody knows it."""
        try:
            return self._known[event_id]
        except KeyError:
            event = self._known[event_id] = self._fetch(event_id)
            return event

    def events(self, event_ids: Iterable[str]) -> list[Event]:
        """Those of the events that are known."""
        return [event for event_id in event_ids if (event := self.event(event_id)) is not None]

    def _find_create(self) -> Event:
        for state in self.state_sets:
            create_id = state.get(("m.room.create", ""))
            if create_id is not None and (create := self.event(create_id)) is not None:
                return create
        raise ValueError("no state to resolve has the room's m.room.create event")

    def with_auth_chain(self, event_ids: Iterable[str]) -> set[str]:
        """The events and their auth chains: all that can be reached from them by auth_events."""
        reached = set(event_ids)
        if self._auth_chain is not None:
            reached.update(self._auth_chain(reached))
            return reached
        pending = list(reached)
        while pending:
            event = self.event(pending.pop())
            if event is not None:
                new = [auth_id for auth_id in event.auth_event_ids if auth_id not in reached]
                reached.update(new)
                pending += new
        return reached

    def auth_difference(self) -> set[str]:
        """Every event that is in the full auth chain of some, but not of all state sets.

        A state's events count as part of its full auth chain, which the specification leaves open. What all sets have
        in common is walked once, and only when it is needed.
        """
        chains = [self.with_auth_chain(entries.values()) for entries in self._apart]
        difference = chains[0].union(*chains[1:]) - chains[0].intersection(*chains[1:])
        return difference - self.with_auth_chain(self._agreed.values()) if difference else difference

    def conflicted_subgraph(self, conflicted: set[str]) -> set[str]:
        """All events on paths by auth_events between two events of `conflicted`, both ends included (v12)."""
        referrers: dict[str, list[str]] = {}
        reached = set(conflicted)
        pending = list(conflicted)
        while pending:
            event_id = pending.pop()
            event = self.event(event_id)
            for auth_id in () if event is None else event.auth_event_ids:
                referrers.setdefault(auth_id, []).append(event_id)
                if auth_id not in reached:
                    reached.add(auth_id)
                    pending.append(auth_id)
        subgraph = set(conflicted)
        pending = list(conflicted)
        while pending:
            for referrer in referrers.get(pending.pop(), ()):
                if referrer not in subgraph:
                    subgraph.add(referrer)
                    pending.append(referrer)
        return subgraph

    def separate(self, *, missing_is_conflict: bool) -> tuple[dict[StateKey, str], dict[StateKey, set[str]]]:
        """The unconflicted state map, and the conflicting event IDs by place in the state.

        `missing_is_conflict`: whether a place conflicts when a set has no event for it (since version 2), or only when
        sets have different ones (version 1).
        """
        unconflicted = dict(self._agreed)
        conflicted: dict[StateKey, set[str]] = {}
        for key in sorted(set().union(*self._apart)):
            found = [entries.get(key) for entries in self._apart]
            ids = {event_id for event_id in found if event_id is not None}
            if len(ids) == 1 and not (missing_is_conflict and None in found):
                unconflicted[key] = ids.pop()
            else:
                conflicted[key] = ids
        return unconflicted, conflicted


def _compared(state_sets: Sequence[StateMap]) -> tuple[dict[StateKey, str], list[dict[StateKey, str]]]:
    """What all sets agree on, which is almost everything, and what else there is in each."""
    agreed = dict(state_sets[0])
    for state in state_sets[1:]:
        agreed = {key: event_id for key, event_id in agreed.items() if state.get(key) == event_id}
    return agreed, [{key: state[key] for key in state.keys() - agreed.keys()} for state in state_sets]
