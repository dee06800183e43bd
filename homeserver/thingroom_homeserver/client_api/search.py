"""POST /search. Tokens count results: in the whole list, or in one group of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec

from thingroom_homeserver.client_api.room_errors import viewer_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.http.errors import MatrixError
from thingroom_homeserver.rooms.event_filter import EventFilter, FilterError, parse_event_filter
from thingroom_homeserver.rooms.outcomes import Refused
from thingroom_homeserver.rooms.present import Viewer, present_state
from thingroom_homeserver.rooms.read_events import present_seen, read_around
from thingroom_homeserver.rooms.read_state import state_for
from thingroom_homeserver.rooms.search import Found, SearchWish, search, words_of
from thingroom_homeserver.rooms.tokens import page_token
from thingroom_homeserver.storage.current_state import MEMBER
from thingroom_homeserver.storage.state_groups import entries_of_group

if TYPE_CHECKING:
    from thingroom_homeserver.rooms.context import Rooms
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

DEFAULT_LIMIT = 10
MAX_LIMIT = 100
MAX_CONTEXT = 50
MAX_TERM = 1000
_TOKEN = re.compile(r"n([0-9]{1,6})(?:_(room_id|sender)_(.{1,255}))?", re.DOTALL | re.ASCII)
_KEYS: dict[str, Callable[[Found], str]] = {
    "room_id": lambda found: found.stored.event.room_id,
    "sender": lambda found: found.stored.event.sender,
}

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Group(msgspec.Struct):
    key: Literal["room_id", "sender"]


class _Groupings(msgspec.Struct):
    group_by: list[_Group] = []


class _Context(msgspec.Struct):
    before_limit: _Count = 5
    after_limit: _Count = 5
    include_profile: bool = False


class _RoomEvents(msgspec.Struct):
    search_term: Annotated[str, msgspec.Meta(max_length=MAX_TERM)]
    keys: list[Literal["content.body", "content.name", "content.topic"]] | None = None
    filter: dict[str, Any] | None = None
    order_by: Literal["recent", "rank"] | None = None
    event_context: _Context | None = None
    include_state: bool | None = None
    groupings: _Groupings | None = None


class _Categories(msgspec.Struct):
    room_events: _RoomEvents | None = None


class _Body(msgspec.Struct):
    search_categories: _Categories


async def post_search(request: Request, services: Services) -> dict[str, Any]:
    try:
        wanted = msgspec.convert(request.body, _Body).search_categories.room_events
        event_filter = parse_event_filter(None if wanted is None else wanted.filter)
    except (msgspec.ValidationError, FilterError) as error:
        raise MatrixError(400, "M_BAD_JSON", str(error)) from None
    if wanted is None:
        return {"search_categories": {}}
    start, key, value = _start(request)
    columns = tuple(dict.fromkeys(name.removeprefix("content.") for name in wanted.keys or ()))
    wish = SearchWish(wanted.search_term, event_filter=event_filter, by_rank=wanted.order_by != "recent")
    if columns:
        wish = SearchWish(wanted.search_term, columns, wish.by_rank, event_filter)
    found = await search(services.rooms, request.requester.user_id, wish)
    in_scope = found if key is None else [each for each in found if _KEYS[key](each) == value]
    page = in_scope[start : start + _limit(event_filter)]
    viewer = viewer_of(request.requester, services)
    answer = services.database.read(lambda c: _answer(services.rooms, c, viewer, wanted, page))
    answer |= {"count": len(found), "highlights": words_of(wanted.search_term)}
    if start + len(page) < len(in_scope):
        answer["next_batch"] = f"n{start + len(page)}" + ("" if key is None else f"_{key}_{value}")
    if wanted.groupings is not None:
        answer["groups"] = {group.key: _groups(group.key, found, page) for group in wanted.groupings.group_by}
    return {"search_categories": {"room_events": answer}}


def _start(request: Request) -> tuple[int, str | None, str | None]:
    """How many results were told, and of which group they are."""
    text = request.query.get("next_batch")
    if not text:
        return 0, None, None
    match = _TOKEN.fullmatch(text)
    if match is None:
        raise MatrixError(400, "M_INVALID_PARAM", "next_batch is not a token of this server")
    return int(match[1]), match[2], match[3]


def _limit(event_filter: EventFilter) -> int:
    return max(1, min(event_filter.limit if event_filter.limit is not None else DEFAULT_LIMIT, MAX_LIMIT))


def _groups(key: str, found: list[Found], page: list[Found]) -> dict[str, Any]:
    """The page's results by `key`, with a token for the rest of each group."""
    groups: dict[str, Any] = {}
    for each in page:
        group = groups.setdefault(_KEYS[key](each), {"order": len(groups) + 1, "results": []})
        group["results"].append(each.stored.event_id)
    for value, group in groups.items():
        of_group = [each.stored.event_id for each in found if _KEYS[key](each) == value]
        told = of_group.index(group["results"][-1]) + 1
        if told < len(of_group):
            group["next_batch"] = f"n{told}_{key}_{value}"
    return groups


def _answer(rooms: Rooms, connection: Reader, viewer: Viewer, wanted: _RoomEvents, page: list[Found]) -> dict[str, Any]:
    shown = _present(rooms, connection, viewer, page)
    results: list[dict[str, Any]] = []
    for each in page:
        result: dict[str, Any] = {"rank": each.rank, "result": shown[each.stored.event_id]}
        if wanted.event_context is not None:
            result["context"] = _context(rooms, connection, viewer, wanted.event_context, each)
        results.append(result)
    answer: dict[str, Any] = {"results": results}
    if wanted.include_state:
        answer["state"] = {}
        for room_id in dict.fromkeys(each.stored.event.room_id for each in page):
            state = state_for(rooms, connection, viewer.user_id, room_id)
            if not isinstance(state, Refused):
                events = present_state(rooms, connection, viewer, state.values(), with_room_id=True)
                answer["state"][room_id] = events
    return answer


def _present(rooms: Rooms, connection: Reader, viewer: Viewer, page: list[Found]) -> dict[str, dict[str, Any]]:
    """The events in the client format, by id."""
    events = present_seen(rooms, connection, viewer, [(each.stored, each.membership) for each in page])
    return {event["event_id"]: event for event in events}


def _context(rooms: Rooms, connection: Reader, viewer: Viewer, wanted: _Context, each: Found) -> dict[str, Any]:
    before_limit, after_limit = min(wanted.before_limit, MAX_CONTEXT), min(wanted.after_limit, MAX_CONTEXT)
    around = read_around(rooms, connection, viewer.user_id, each.stored, before_limit, after_limit)
    context: dict[str, Any] = {
        "start": page_token(around.start),
        "end": page_token(around.end),
        "events_before": present_seen(rooms, connection, viewer, around.before),
        "events_after": present_seen(rooms, connection, viewer, around.after),
    }
    if wanted.include_profile:
        senders = {stored.event.sender for stored, _ in (*around.before, *around.after)} | {each.stored.event.sender}
        context["profile_info"] = _profiles(rooms, connection, each, sorted(senders))
    return context


def _profiles(rooms: Rooms, connection: Reader, each: Found, senders: list[str]) -> dict[str, Any]:
    """The senders' profiles in the room's state after the event."""
    assert each.stored.state_group is not None
    entries = entries_of_group(connection, each.stored.state_group, [(MEMBER, sender) for sender in senders])
    found = rooms.events.get_many(connection, entries.values())
    profiles: dict[str, Any] = {}
    for (_, user_id), event_id in entries.items():
        content = found[event_id].event.content
        profiles[user_id] = {
            name: content[name] for name in ("displayname", "avatar_url") if isinstance(content.get(name), str)
        }
    return profiles


ENDPOINTS = (Endpoint("POST", client_path("search"), post_search),)
