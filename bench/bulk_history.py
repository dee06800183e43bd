"""Messages straight into a stopped homeserver's tables: the rows that sending them one by one would leave.

A million would take a quarter of an hour through the server, most of it for signatures and commits that reading never
looks at: these events carry the signature of none. tests/bench holds the rows against those of events that were sent.
May import the homeserver's core.
"""

from __future__ import annotations

import sqlite3
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import orjson

BATCH = 50_000
LAST_MS = 1_700_000_000_000
RARE = 100_000


def first_time(count: int) -> int:
    """When the first of `count` messages is sent, in ms: they are a second apart and end at LAST_MS."""
    return LAST_MS - count * 1000


def add_messages(database: Path, room_id: str, sender: str, count: int) -> Iterator[int]:
    """Append `count` notices by `sender` to the room; yields how many there are so far.

    Notices notify nobody, so there are no rows about that. The homeserver must not run.
    """
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("PRAGMA cache_size = -400000")
        state = dict(
            connection.execute(
                "SELECT type, event_id FROM current_state WHERE room_id = ? AND type IN "
                "('m.room.power_levels', 'm.room.member')",
                (room_id,),
            )
        )
        (group,) = connection.execute("SELECT state_group FROM rooms WHERE room_id = ?", (room_id,)).fetchone()
        previous, depth = connection.execute(
            "SELECT event_id, depth FROM forward_extremities JOIN events USING (event_id) WHERE events.room_id = ?",
            (room_id,),
        ).fetchone()
        (position,) = connection.execute("SELECT position FROM stream_position").fetchone()
        pdu = {
            "type": "m.room.message",
            "sender": sender,
            "room_id": room_id,
            "auth_events": sorted(state.values()),
            "hashes": {"sha256": "A" * 43},
            "signatures": {sender.partition(":")[2]: {"ed25519:none": "A" * 86}},
        }
        sent = first_time(count)
        for start in range(0, count, BATCH):
            events, edges, texts = [], [], []
            for number in range(start, min(start + BATCH, count)):
                position, depth, sent = position + 1, depth + 1, sent + 1000
                body = f"Kitchen {number % 400 / 10} °C, reading {number}"
                if number % RARE == RARE // 2:
                    body += ", thunderstorm"
                content = {"msgtype": "m.notice", "body": body}
                pdu |= {"content": content, "prev_events": [previous], "depth": depth, "origin_server_ts": sent}
                data = orjson.dumps(pdu)
                event_id = "$" + urlsafe_b64encode(sha256(data).digest()).decode().rstrip("=")
                events.append((event_id, room_id, "m.room.message", sender, depth, sent, position, group, data))
                edges.append((previous, event_id))
                texts.append((position, body))
                previous = event_id
            _write(connection, events, sorted(edges), texts)
            connection.execute("UPDATE forward_extremities SET event_id = ? WHERE room_id = ?", (previous, room_id))
            connection.execute("UPDATE stream_position SET position = ?", (position,))
            connection.execute("COMMIT")
            yield start + len(events)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _write(
    connection: sqlite3.Connection,
    events: list[tuple[object, ...]],
    edges: list[tuple[str, str]],
    texts: list[tuple[int, str]],
) -> None:
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT INTO events (event_id, room_id, type, sender, depth, origin_server_ts, position, state_group, json, "
        "send_out) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        events,
    )
    connection.executemany("INSERT INTO event_edges VALUES (?, ?)", edges)
    connection.executemany("INSERT INTO event_search (rowid, body) VALUES (?, ?)", texts)
