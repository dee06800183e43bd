"""A space and the rooms right under it, as far as another server may know of them: what that server's users could join.

May import core and storage. Source: Server-Server API, "Spaces". Called by federation_api/hierarchy.py.
"""

from __future__ import annotations

import asyncio
from functools import partial

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.hierarchy import children_of
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.rooms.residence import is_resident, server_may_take_part
from thingroom_homeserver.rooms.room_summary import summary_with_conditions
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.room_servers import is_server_in_room
from thingroom_homeserver.storage.server_users import is_server_invited

MAX_CHILDREN = 500
_NOT_FOUND = Refused(Why.NOT_FOUND, "There is no such room here, or your server may not see it")


async def hierarchy_for_server(
    rooms: Rooms, server_name: str, room_id: str, suggested_only: bool
) -> JsonObject | Refused:
    """The answer to the server. Lets others run between rooms."""

    def read_room(connection: Reader) -> tuple[JsonObject, list[str]] | None:
        summary = _summary(rooms, server_name, room_id, connection)
        if not isinstance(summary, dict):
            return None
        children = children_of(rooms, connection, summary, suggested_only)
        return summary | {"children_state": children}, [child["state_key"] for child in children]

    found = rooms.database.read(read_room)
    if found is None:
        return _NOT_FOUND
    room, child_ids = found
    children: list[JsonObject] = []
    inaccessible: list[str] = []
    for child_id in child_ids[:MAX_CHILDREN]:
        summary = rooms.database.read(partial(_summary, rooms, server_name, child_id))
        if isinstance(summary, dict):
            children.append(summary)
        elif summary is False:
            inaccessible.append(child_id)
        await asyncio.sleep(0)
    return {"room": room, "children": children, "inaccessible_children": inaccessible}


def _summary(rooms: Rooms, server_name: str, room_id: str, connection: Reader) -> JsonObject | bool | None:
    """The room's summary; False if the server has no way in, None if this server does not know the room as it is."""
    if not is_resident(connection, room_id):
        return None
    summary = summary_with_conditions(rooms, connection, room_id)
    return summary if _may_find(rooms, connection, server_name, summary) else False


def _may_find(rooms: Rooms, connection: Reader, server_name: str, summary: JsonObject) -> bool:
    """Whether somebody of that server could look into the room, join it, or ask to be let in."""
    room_id = summary["room_id"]
    if not server_may_take_part(rooms, connection, room_id, server_name):
        return False
    if summary["world_readable"] or summary.get("join_rule") in ("public", "knock", "knock_restricted"):
        return True
    if is_server_in_room(connection, room_id, server_name) or is_server_invited(connection, room_id, server_name):
        return True
    allowed = summary.get("allowed_room_ids", ()) if summary.get("join_rule") == "restricted" else ()
    return any(is_server_in_room(connection, other, server_name) for other in allowed)
