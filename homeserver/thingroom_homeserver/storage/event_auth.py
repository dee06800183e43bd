"""What authorised each state event: the graph of auth_events, for auth chains.

Functions over a connection or a transaction. May import storage.connection. Next: rooms/state_at.py.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader

_CHAIN = """
WITH RECURSIVE chain (id) AS (
    SELECT a.auth_id FROM json_each(?) start CROSS JOIN event_auth a ON a.event_id = start.value
    UNION SELECT a.auth_id FROM chain CROSS JOIN event_auth a ON a.event_id = chain.id
)
SELECT id FROM chain
"""


def insert_auth(transaction: Transaction, event_id: str, auth_ids: Iterable[str]) -> None:
    """Note the auth events of a state event."""
    transaction.executemany(
        "INSERT OR IGNORE INTO event_auth VALUES (?, ?)", [(event_id, auth_id) for auth_id in auth_ids]
    )


def auth_chain(connection: Reader, event_ids: Iterable[str]) -> set[str]:
    """Every event that can be reached from the state events `event_ids` by auth_events, stored or not."""
    rows = connection.execute(_CHAIN, (orjson.dumps(list(event_ids)).decode(),))
    return {row[0] for row in rows}


def without_auth(connection: Reader, event_ids: Iterable[str]) -> list[str]:
    """Those of the events that have no auth events here: create events, what is no state, and what is not stored."""
    rows = connection.execute(
        "SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM event_auth WHERE event_id = value)",
        (orjson.dumps(list(event_ids)).decode(),),
    )
    return [row[0] for row in rows]
