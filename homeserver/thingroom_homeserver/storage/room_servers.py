"""Which servers are in which rooms, now and at each position: where a room's events go.

Kept by memberships.set_membership, whatever the event that changed a membership came from. A server is in a room while
at least one of its users is joined. May import core, thingroom_common and storage.connection.
Source: Server-Server API, "PDUs", "Transactions".
"""

from __future__ import annotations

from collections.abc import Mapping

from thingroom_common.database import Transaction
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.destinations import add_destination
from thingroom_homeserver.storage.device_list_outbox import queue_all_devices
from thingroom_homeserver.storage.remote_devices import followed_users_in, forget_unshared

OPEN = 2**62
"""The end of a span that goes on."""

_ASKING = frozenset({"invite", "knock"})


def note_membership(
    transaction: Transaction, room_id: str, user_id: str, before: str | None, after: str, position: int, is_local: bool
) -> None:
    """The user's membership changes with the event at `position`. `before`: what `room_members` holds until now."""
    server_name = user_id.partition(":")[2]
    if after == "join" and before != "join":
        _enter(transaction, room_id, server_name, position, is_local)
        if is_local:
            _tell_devices(transaction, room_id, user_id, server_name)
    elif after != "join" and before == "join":
        _leave(transaction, room_id, server_name, position, is_local)
        if not is_local:
            forget_unshared(transaction, user_id, but=room_id)
    elif before in _ASKING and after != "join" and not is_local:
        # Who is invited or knocks without being in the room hears how that ends.
        _tell_one(transaction, room_id, server_name, position)


def enter_at_once(transaction: Transaction, room_id: str, users: Mapping[str, int], position: int) -> None:
    """Other servers, by name with how many joined users they have, are in a room that this server comes into.

    Others that were in it when this server was there last are not any more.
    """
    rows = transaction.execute(
        "SELECT server_name FROM room_server_spans WHERE room_id = ? AND until = ?", (room_id, OPEN)
    ).fetchall()
    for server_name in {row[0] for row in rows} - users.keys():
        transaction.execute(
            "UPDATE room_servers SET users = 1 WHERE room_id = ? AND server_name = ?", (room_id, server_name)
        )
        _leave(transaction, room_id, server_name, position, is_local=False)
    for server_name, count in users.items():
        _enter(transaction, room_id, server_name, position, is_local=False)
        transaction.execute(
            "UPDATE room_servers SET users = ? WHERE room_id = ? AND server_name = ?", (count, room_id, server_name)
        )


def servers_in_room(connection: Reader, room_id: str) -> list[str]:
    """The servers that are in the room now, this one among them if it is."""
    rows = connection.execute("SELECT server_name FROM room_servers WHERE room_id = ?", (room_id,))
    return [row[0] for row in rows]


def rooms_of_server(connection: Reader, server_name: str) -> list[str]:
    """The rooms that the server is in now."""
    rows = connection.execute("SELECT room_id FROM room_servers WHERE server_name = ?", (server_name,))
    return [row[0] for row in rows]


def is_server_in_room(connection: Reader, room_id: str, server_name: str) -> bool:
    row = connection.execute(
        "SELECT 1 FROM room_servers WHERE room_id = ? AND server_name = ?", (room_id, server_name)
    ).fetchone()
    return row is not None


def servers_at(connection: Reader, room_id: str, position: int) -> list[str]:
    """The other servers that the event at `position` is for: those in the room before it."""
    rows = connection.execute(
        "SELECT server_name FROM room_server_spans WHERE room_id = ? AND until >= ? AND since < ?",
        (room_id, position, position),
    )
    return [row[0] for row in rows]


def servers_sharing_with(connection: Reader, user_id: str, but: str | None = None) -> list[str]:
    """The servers that are in a room which the user is joined to, except the room `but`."""
    rows = connection.execute(
        "SELECT DISTINCT server_name FROM room_members JOIN room_servers USING (room_id) "
        "WHERE user_id = ? AND membership = 'join' AND room_id IS NOT ?",
        (user_id, but),
    )
    return [row[0] for row in rows]


def server_shares_with(connection: Reader, user_id: str, server_name: str) -> bool:
    """Whether the server is in a room which the user is joined to."""
    row = connection.execute(
        "SELECT 1 FROM room_members JOIN room_servers USING (room_id) "
        "WHERE user_id = ? AND membership = 'join' AND server_name = ? LIMIT 1",
        (user_id, server_name),
    ).fetchone()
    return row is not None


def servers_entered(connection: Reader, after: int, limit: int) -> list[tuple[int, str, str]]:
    """(position, server, room) of each time that a server came into a room after `after`, in order."""
    rows = connection.execute(
        "SELECT since, server_name, room_id FROM room_server_spans WHERE since > ? AND until > since + 1 "
        "ORDER BY since LIMIT ?",
        (after, limit),
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _enter(transaction: Transaction, room_id: str, server_name: str, position: int, is_local: bool) -> None:
    users = transaction.execute(
        "INSERT INTO room_servers VALUES (?, ?, 1) ON CONFLICT (room_id, server_name) DO UPDATE SET users = users + 1 "
        "RETURNING users",
        (room_id, server_name),
    ).fetchone()[0]
    if users == 1 and not is_local:
        transaction.execute(
            "DELETE FROM room_server_spans WHERE server_name = ?1 AND room_id = ?2 "
            "AND until <= (SELECT events_upto FROM destinations WHERE server_name = ?1)",
            (server_name, room_id),
        )
        transaction.execute(
            "INSERT OR REPLACE INTO room_server_spans VALUES (?, ?, ?, ?)", (server_name, room_id, position, OPEN)
        )
        add_destination(transaction, server_name, position)


def _leave(transaction: Transaction, room_id: str, server_name: str, position: int, is_local: bool) -> None:
    row = transaction.execute(
        "UPDATE room_servers SET users = users - 1 WHERE room_id = ? AND server_name = ? RETURNING users",
        (room_id, server_name),
    ).fetchone()
    if row is None or row[0] > 0:
        return
    transaction.execute("DELETE FROM room_servers WHERE room_id = ? AND server_name = ?", (room_id, server_name))
    if is_local:
        for user_id in followed_users_in(transaction, room_id):
            forget_unshared(transaction, user_id, but=room_id)
    else:
        # The event that ends it is the last one the server is sent.
        transaction.execute(
            "UPDATE room_server_spans SET until = ? WHERE server_name = ? AND room_id = ? AND until = ?",
            (position, server_name, room_id, OPEN),
        )


def _tell_one(transaction: Transaction, room_id: str, server_name: str, position: int) -> None:
    if not is_server_in_room(transaction, room_id, server_name):
        add_destination(transaction, server_name, position - 1)
        transaction.execute(
            "INSERT OR REPLACE INTO room_server_spans VALUES (?, ?, ?, ?)",
            (server_name, room_id, position - 1, position),
        )


def _tell_devices(transaction: Transaction, room_id: str, user_id: str, own_name: str) -> None:
    """The servers that the user meets in the room only have not heard of the user's devices."""
    servers = {server for server in servers_in_room(transaction, room_id) if server != own_name}
    if servers:
        servers -= set(servers_sharing_with(transaction, user_id, but=room_id))
        queue_all_devices(transaction, user_id, servers)
