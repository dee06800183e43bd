"""Events as the bytes they are kept as, for answers that hold thousands of them: nothing is parsed or encoded again.

May import thingroom_common only. Redacted events are kept redacted, so the bytes are what may be sent.
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_homeserver.storage.connection import Reader

_AT_ONCE = 500


def json_of_events(connection: Reader, event_ids: Iterable[str]) -> list[bytes]:
    """The PDUs of those of the events that are stored and not rejected, as JSON, in no particular order."""
    found: list[bytes] = []
    ids = list(event_ids)
    for start in range(0, len(ids), _AT_ONCE):
        some = ids[start : start + _AT_ONCE]
        query = f"SELECT json FROM events WHERE event_id IN ({','.join('?' * len(some))}) AND rejected IS NULL"  # noqa: S608 - placeholders
        found += [row[0] for row in connection.execute(query, some)]
    return found
