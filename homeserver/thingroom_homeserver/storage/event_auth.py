"""The graph of auth_events, walked for auth chains.

What an event cites never changes, so it is kept in memory once it was read. May import storage.connection.
Next: rooms/states.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from thingroom_homeserver.storage.connection import Reader

CACHED_EVENTS = 100_000
_AT_ONCE = 1000
_FEW = 50
# Room versions 1 and 2 name auth events in pairs with their hashes.
_NAME = "CASE WHEN a.type = 'array' THEN a.value ->> 0 ELSE a.value END"
_CITED = f"""
SELECT e.event_id, {_NAME} FROM json_each(?) wanted CROSS JOIN events e ON e.event_id = wanted.value
LEFT JOIN json_each(CAST(e.json AS TEXT), '$.auth_events') a
"""  # noqa: S608 - constants
# The same with what these cite in turn, up to a thousand events: a chain that is long needs few questions.
_CITED_DEEP = f"""
WITH RECURSIVE chain (id) AS (
    SELECT value FROM json_each(?)
    UNION SELECT {_NAME} FROM chain CROSS JOIN events e ON e.event_id = chain.id
    CROSS JOIN json_each(CAST(e.json AS TEXT), '$.auth_events') a
    LIMIT {_AT_ONCE}
)
SELECT e.event_id, {_NAME} FROM chain CROSS JOIN events e ON e.event_id = chain.id
LEFT JOIN json_each(CAST(e.json AS TEXT), '$.auth_events') a
"""  # noqa: S608 - constants


class AuthGraph:
    """Which events each event cites as its auth events. Used on one thread at a time."""

    def __init__(self) -> None:
        self._cited: dict[str, tuple[str, ...]] = {}
        self._names: dict[str, str] = {}

    def chain(self, connection: Reader, event_ids: Iterable[str]) -> set[str]:
        """Every event that can be reached from these by auth_events; they themselves only where they are reached.

        Events that are not stored may be among them, and are not walked through.
        """
        reached: set[str] = set()
        edge = set(event_ids)
        while edge:
            self._load(connection, edge)
            cited = self._cited
            found = {auth_id for event_id in edge for auth_id in cited.get(event_id, ())}
            edge = found - reached
            reached |= edge
        return reached

    def _load(self, connection: Reader, event_ids: set[str]) -> None:
        missing = [event_id for event_id in event_ids if event_id not in self._cited]
        if len(self._cited) + len(missing) > CACHED_EVENTS:
            self._cited.clear()
            self._names.clear()
            missing = list(event_ids)
        for start in range(0, len(missing), _AT_ONCE):
            wanted = orjson.dumps(missing[start : start + _AT_ONCE]).decode()
            found: dict[str, list[str]] = {}
            for event_id, auth_id in connection.execute(_CITED_DEEP if len(missing) <= _FEW else _CITED, (wanted,)):
                cited = found.setdefault(event_id, [])
                if auth_id is not None:
                    cited.append(self._names.setdefault(auth_id, auth_id))
            self._cited.update((event_id, tuple(cited)) for event_id, cited in found.items())
