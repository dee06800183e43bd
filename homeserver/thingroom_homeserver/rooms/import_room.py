"""Taking up a room by the state that another server tells: after a join over federation.

May import core and storage. Source: Server-Server API, "Joining Rooms". Next: gaps.py, since its history is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.receipt_outcomes import Accepted, Duplicate, Missing, Rejected
from thingroom_homeserver.storage.state_groups import StateKey


def import_joined_room(
    rooms: Rooms,
    transaction: Transaction,
    *,
    room_version: str,
    membership_event: Event,
    state: Mapping[StateKey, str],
) -> Accepted | Duplicate | Rejected | Missing:
    """Begin the room (again) with the local user's membership event on top of `state`, the state before it.

    The events of `state` and their auth chain must be stored by `store_outliers` (else Missing). Its history begins
    with a gap. Of a room that this server was in before, the new state takes the place of the old; if local users are
    in it still, the event is received like any other.
    """
    raise NotImplementedError


async def prepare_import(rooms: Rooms, room_id: str, state: Mapping[StateKey, str]) -> None:
    """Write what is large about `state` ahead, in small steps, so that `import_joined_room` of it is short.

    Worth its while from some hundred entries on. What it writes is unseen until then, and harmless if it never comes.
    """
    raise NotImplementedError
