"""GET /initialSync, /rooms/{roomId}/initialSync, /events and /events/{eventId}: deprecated, for old clients.

Source: client-server API, the deprecated parts of "Syncing". /sync has taken their place.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from thingroom_homeserver.client_api.room_errors import accepted, viewer_of
from thingroom_homeserver.client_api.room_paging import DEFAULT_LIMIT, MAX_LIMIT, position_of
from thingroom_homeserver.http.endpoint import Endpoint, Request, client_path
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.present import Viewer, present_event, present_state
from thingroom_homeserver.rooms.read_events import PageWish, present_seen, read_page, see_event
from thingroom_homeserver.rooms.read_state import Access, access_of, state_for
from thingroom_homeserver.rooms.tokens import SyncToken, page_token
from thingroom_homeserver.storage.account_data import blocks_invites
from thingroom_homeserver.storage.memberships import Member, membership_of, rooms_of_user
from thingroom_homeserver.storage.rooms import room_row

if TYPE_CHECKING:
    from thingroom_homeserver.services import Services
    from thingroom_homeserver.storage.connection import Reader

MAX_TIMEOUT_MS = 120_000
EVENTS_A_LOOK = 100
PEEK_SECONDS = 1.0


async def initial_sync(request: Request, services: Services) -> dict[str, Any]:
    viewer, limit = viewer_of(request.requester, services), _limit(request)
    position = services.notifier.position
    wanted = ("join", "invite", *(("leave", "ban") if request.query_bool("archived") else ()))
    members = services.database.read(lambda c: rooms_of_user(c, viewer.user_id, wanted))
    rooms: list[dict[str, Any]] = []
    for member in members:
        blocked = member.membership == "invite" and services.database.read(lambda c: blocks_invites(c, viewer.user_id))
        if not (member.forgotten or blocked):
            rooms.append(services.database.read(partial(_room_of, services, viewer, member, limit)))
            await asyncio.sleep(0)
    account_data = services.database.read(
        lambda c: services.account_data.global_since(c, viewer.user_id, 0, services.notifier.position)
    )
    end = str(SyncToken(position, services.typing.position))
    presence = services.database.read(lambda c: services.presence.since(c, viewer.user_id, None, position, ()))
    return {"end": end, "rooms": rooms, "presence": presence, "account_data": account_data}


def _room_of(services: Services, viewer: Viewer, member: Member, limit: int, connection: Reader) -> dict[str, Any]:
    """One room of /initialSync; of an invite only that event, and of an invite that was refused nothing."""
    if isinstance(access_of(services.rooms, connection, viewer.user_id, member.room_id), Access):
        return _room_info(services, viewer, member.room_id, limit, connection)
    if member.membership != "invite":
        return {"room_id": member.room_id, "membership": member.membership}
    invite = services.rooms.events.get(connection, member.event_id)
    assert invite is not None, f"{member.event_id} is a membership, but not stored"
    shown = present_event(services.rooms, connection, viewer, invite, with_room_id=True)
    return {"room_id": member.room_id, "membership": "invite", "invite": shown}


async def room_initial_sync(request: Request, services: Services) -> dict[str, Any]:
    viewer, room_id, limit = viewer_of(request.requester, services), request.path["roomId"], _limit(request)
    return services.database.read(partial(_room_info, services, viewer, room_id, limit))


def _room_info(services: Services, viewer: Viewer, room_id: str, limit: int, connection: Reader) -> dict[str, Any]:
    rooms = services.rooms
    member = membership_of(connection, room_id, viewer.user_id)
    state = accepted(state_for(rooms, connection, viewer.user_id, room_id))
    wish = PageWish(room_id, None, None, True, limit)
    page = accepted(read_page(rooms, connection, viewer.user_id, wish, NO_FILTER))
    oldest = page.events[-1][0].position if page.events else None
    row = room_row(connection, room_id)
    data = services.account_data.rooms_since(connection, viewer.user_id, 0, rooms.notifier.position)
    answer: dict[str, Any] = {
        "room_id": room_id,
        "messages": {
            "start": page_token((oldest or page.start + 1) - 1),
            "end": page_token(page.start),
            "chunk": present_seen(rooms, connection, viewer, page.events[::-1]),
        },
        "state": present_state(rooms, connection, viewer, state.values(), with_room_id=True),
        "visibility": "public" if row is not None and row.is_public else "private",
        "account_data": data.get(room_id, []),
    }
    return answer if member is None else answer | {"membership": member.membership}


def _limit(request: Request) -> int:
    return request.query_int("limit", DEFAULT_LIMIT, lowest=1, highest=MAX_LIMIT) or DEFAULT_LIMIT


async def stream(request: Request, services: Services) -> dict[str, Any]:
    viewer, notifier = viewer_of(request.requester, services), services.notifier
    room_id = request.query.get("room_id")
    if room_id is not None:
        accepted(services.database.read(lambda c: access_of(services.rooms, c, viewer.user_id, room_id)))
    start = position_of(request, "from")
    at = notifier.position if start is None else min(start, notifier.position)
    start = at
    timeout_ms = request.query_int("timeout", 0, highest=MAX_TIMEOUT_MS) or 0
    deadline = time.monotonic() + timeout_ms / 1000
    while True:
        upto = notifier.position
        at, chunk = services.database.read(partial(_news, services, viewer, room_id, at, upto))
        remaining = deadline - time.monotonic()
        if chunk or (at == upto and (remaining <= 0 or notifier.closed)):
            return {"start": page_token(start), "end": page_token(at), "chunk": chunk}
        if at < upto:
            await asyncio.sleep(0)
        elif notifier.position == upto:
            # Whoever peeks at a room that they are not in is not woken by it, and looks every now and then.
            await notifier.wait(viewer.user_id, remaining if room_id is None else min(remaining, PEEK_SECONDS))


def _news(
    services: Services, viewer: Viewer, room_id: str | None, after: int, upto: int, connection: Reader
) -> tuple[int, list[dict[str, Any]]]:
    """What the user may see of the next events of their rooms, or of one, and how far those reach."""
    rooms = services.rooms
    events = rooms.events.stream_after(connection, after, upto, EVENTS_A_LOOK)
    wanted = rooms.occupancy.joined_rooms(viewer.user_id) if room_id is None else {room_id}
    seen = [
        found
        for stored in events
        if stored.event.room_id in wanted
        for found in rooms.visibility.visible(connection, viewer.user_id, stored.event.room_id, [stored])
    ]
    reached = events[-1].position if len(events) == EVENTS_A_LOOK else None
    return upto if reached is None else reached, present_seen(rooms, connection, viewer, seen)


async def get_event(request: Request, services: Services) -> dict[str, Any]:
    rooms, viewer, event_id = services.rooms, viewer_of(request.requester, services), request.path["eventId"]

    def read(connection: Reader) -> dict[str, Any]:
        stored = rooms.events.get(connection, event_id)
        room_id = "" if stored is None else stored.event.room_id
        seen = accepted(see_event(rooms, connection, viewer.user_id, room_id, event_id))
        return present_seen(rooms, connection, viewer, [seen])[0]

    return services.database.read(read)


ENDPOINTS = (
    Endpoint("GET", client_path("initialSync"), initial_sync),
    Endpoint("GET", client_path("rooms/{roomId}/initialSync"), room_initial_sync),
    Endpoint("GET", client_path("events"), stream, waits=True),
    Endpoint("GET", client_path("events/{eventId}"), get_event),
)
