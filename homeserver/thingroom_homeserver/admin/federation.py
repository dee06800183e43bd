"""Other homeservers as an administrator sees them: how sending to each goes, and which rooms it is in.

May import thingroom_common and storage. Used by federation_commands.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_common.database import Database, Transaction
from thingroom_homeserver.admin.backup import reading
from thingroom_homeserver.server import DATABASE_NAME
from thingroom_homeserver.storage.destinations import missed_count, save_recovered, to_device_waiting
from thingroom_homeserver.storage.positions import current_position
from thingroom_homeserver.storage.room_servers import rooms_of_server
from thingroom_homeserver.storage.schema import MIGRATIONS
from thingroom_homeserver.storage.standing import TRY_AGAIN, note_outside_change

MAX_COUNTED = 10_000
"""Waiting events of one room are counted up to here."""


@dataclass(frozen=True)
class Destination:
    """A server that something was, or is to be, sent to. Times are milliseconds; None: never, or not now.

    queued: events that wait for it, and messages to devices.
    """

    server_name: str
    rooms: int
    queued: int
    delivered_ts: int | None
    failing_since_ts: int | None
    retry_at_ts: int | None


def destinations(data: Path, *, failing_only: bool) -> list[Destination]:
    """All of them, those that fail first, longest failing first. Raises ConfigError, sqlite3.Error."""
    with reading(data / DATABASE_NAME) as connection:
        upto = current_position(connection)
        rows = connection.execute(
            "SELECT server_name, events_upto, delivered_ts, failing_since_ts, retry_at_ts,"
            " (SELECT COUNT(*) FROM room_servers WHERE room_servers.server_name = destinations.server_name) AS rooms"
            " FROM destinations WHERE ?1 = 0 OR failing_since_ts IS NOT NULL"
            " ORDER BY failing_since_ts IS NULL, failing_since_ts, server_name",
            (int(failing_only),),
        ).fetchall()
        return [
            Destination(
                row["server_name"],
                row["rooms"],
                missed_count(connection, row["server_name"], row["events_upto"], upto, MAX_COUNTED)
                + to_device_waiting(connection, row["server_name"]),
                row["delivered_ts"],
                row["failing_since_ts"],
                row["retry_at_ts"],
            )
            for row in rows
        ]


def rooms_shared_with(data: Path, server_name: str) -> list[str]:
    """The rooms that the server is in. Raises ConfigError, sqlite3.Error."""
    with reading(data / DATABASE_NAME) as connection:
        return sorted(rooms_of_server(connection, server_name))


async def try_again(data: Path, server_name: str) -> None:
    """Forget that the server fails; a running homeserver sends to it within a second or two.

    Raises ConfigError for a server that nothing was ever sent to, sqlite3.Error.
    """
    with reading(data / DATABASE_NAME):
        pass
    database = await Database.open(data / DATABASE_NAME, MIGRATIONS)

    def write(transaction: Transaction) -> bool:
        if not transaction.execute("SELECT 1 FROM destinations WHERE server_name = ?", (server_name,)).fetchone():
            return False
        save_recovered(transaction, server_name)
        note_outside_change(transaction, server_name, TRY_AGAIN)
        return True

    try:
        if not await database.write(write):
            raise ConfigError(f"Nothing was ever sent to {server_name}.")
    finally:
        await database.close()
