"""The query parameters that the endpoints for reading history share: from, to, dir, limit, filter.

May import the rooms services and the HTTP frame's types.
"""

from __future__ import annotations

import orjson

from thingroom_homeserver.http.endpoint import Request
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.event_filter import NO_FILTER, EventFilter, FilterError, parse_event_filter
from thingroom_homeserver.rooms.read_events import PageWish
from thingroom_homeserver.rooms.tokens import parse_page_token

DEFAULT_LIMIT = 10
MAX_LIMIT = 1000
MAX_FILTER_BYTES = 32_768


def page_wish_of(request: Request, *, limit: int | None = None, backwards: bool = True) -> PageWish:
    """The wished page. `limit`: what a filter says; `backwards`: the direction without `dir`. Raises MatrixError."""
    direction = request.query.get("dir", "b" if backwards else "f")
    if direction not in ("b", "f"):
        raise MatrixError(400, "M_INVALID_PARAM", "dir must be b or f")
    wanted = request.query_int("limit", limit if limit is not None else DEFAULT_LIMIT, highest=MAX_LIMIT)
    return PageWish(
        request.path["roomId"],
        position_of(request, "from"),
        position_of(request, "to"),
        direction == "b",
        min(DEFAULT_LIMIT if wanted is None else wanted, MAX_LIMIT),
    )


def event_filter_of(request: Request) -> EventFilter:
    """`?filter=`, a RoomEventFilter in JSON. Raises MatrixError."""
    text = request.query.get("filter")
    if not text:
        return NO_FILTER
    try:
        return parse_event_filter(filter_json(text))
    except FilterError as error:
        raise MatrixError(400, "M_INVALID_PARAM", f"filter: {error}") from None


def filter_json(text: str) -> object:
    """The decoded JSON of a filter in the query. Raises FilterError."""
    if len(text) > MAX_FILTER_BYTES:
        raise FilterError(f"longer than {MAX_FILTER_BYTES} bytes")
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise FilterError("not JSON") from None


def position_of(request: Request, name: str) -> int | None:
    """The position that the token `?name=` stands for. Raises MatrixError."""
    text = request.query.get(name)
    if not text:
        return None
    position = parse_page_token(text)
    if position is None:
        raise MatrixError(400, "M_INVALID_PARAM", f"{name} is not a token of this server")
    return position
