"""Which servers to ask about a room, and in which order: those in the room, the one that answered last first.

What is remembered of them is in memory and bounded. May import rooms and storage. Used by all that fetches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.room_servers import servers_in_room

MAX_ASKED = 5
"""How many servers are asked for one thing before it is given up."""
_REMEMBERED = 5000


class Choosing:
    """The order of servers. Tell it of each answer with `did_well` and `did_badly`."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._number = 0
        self._marks: OrderedDict[str, int] = OrderedDict()

    def servers_of(self, room_id: str, first: Iterable[str] = (), limit: int = MAX_ASKED) -> list[str]:
        """Up to `limit` servers to ask about the room: `first`, then those in the room, lately good ones before others.

        Never this server itself; empty if nobody else is there.
        """
        own = self._rooms.server_name
        joined = self._rooms.database.read(lambda connection: servers_in_room(connection, room_id))
        ordered = sorted(joined, key=lambda server: -self._marks.get(server, 0))
        return [server for server in dict.fromkeys((*first, *ordered)) if server != own][:limit]

    def did_well(self, server: str) -> None:
        """It gave what it was asked for."""
        self._number += 1
        self._mark(server, self._number)

    def did_badly(self, server: str) -> None:
        """It did not answer, or with something else."""
        self._number += 1
        self._mark(server, -self._number)

    def _mark(self, server: str, mark: int) -> None:
        self._marks[server] = mark
        self._marks.move_to_end(server)
        if len(self._marks) > _REMEMBERED:
            self._marks.popitem(last=False)
