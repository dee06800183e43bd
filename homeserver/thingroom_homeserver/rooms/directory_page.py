"""Pages of the published directory, as clients and other servers ask for them.

May import core and storage. Source: Client-Server API, "Published room directory". Next: room_summary.py.
"""

from __future__ import annotations

from typing import Any

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.rooms.room_summary import DirectorySearch, published_rooms

MAX_LIMIT = 500


async def directory_page(
    rooms: Rooms, search: DirectorySearch, limit: int, since: str | None = None
) -> JsonObject | Refused:
    """Up to `limit` rooms that match, after the token `since` of an earlier page."""
    start = _offset(since)
    if isinstance(start, Refused):
        return start
    limit = min(limit, MAX_LIMIT)
    found = await published_rooms(rooms, search)
    stop = start + limit
    page: JsonObject = {"chunk": found[start:stop], "total_room_count_estimate": len(found)}
    if stop < len(found):
        page["next_batch"] = f"o{stop}"
    if start > 0:
        page["prev_batch"] = f"o{max(0, start - limit)}"
    return page


def search_of(value: dict[str, Any]) -> DirectorySearch | Refused:
    """The `filter` of a request."""
    term, types = value.get("generic_search_term"), value.get("room_types")
    if term is not None and not isinstance(term, str):
        return Refused(Why.BAD_JSON, "generic_search_term must be a string")
    if types is None:
        return DirectorySearch(term or None)
    if not isinstance(types, list) or not all(kind is None or isinstance(kind, str) for kind in types):
        return Refused(Why.BAD_JSON, "room_types must be a list of strings and nulls")
    return DirectorySearch(term or None, tuple(types))


def _offset(since: str | None) -> int | Refused:
    if since is None:
        return 0
    digits = since.removeprefix("o")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 10):
        return Refused(Why.INVALID_PARAM, "since is not a token of this server")
    return int(digits)
