"""The one stream: every persistent change that a /sync can tell of takes the next position.

Positions grow strictly, are committed with the change they number, and are never used again once visible. Only
backfilled events take lower ones, which were left out for them (docs/decisions/0023-positions-and-gaps.md).
See docs/decisions/0005-one-stream-position.md. May import thingroom_common and storage.connection.
"""

from __future__ import annotations

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader


def next_position(transaction: Transaction) -> int:
    """The position of a new change. An undone write gives its positions back, unseen."""
    row = transaction.execute("UPDATE stream_position SET position = position + 1 RETURNING position").fetchone()
    return int(row[0])


def skip_positions(transaction: Transaction, count: int) -> int:
    """Leave out the next `count` positions; the last one that was given before them."""
    row = transaction.execute(
        "UPDATE stream_position SET position = position + ? RETURNING position", (count,)
    ).fetchone()
    return int(row[0]) - count


def current_position(connection: Reader) -> int:
    """The last position that is committed; 0 in an empty database."""
    return int(connection.execute("SELECT position FROM stream_position").fetchone()[0])
