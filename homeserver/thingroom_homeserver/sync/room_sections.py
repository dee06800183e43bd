"""One room's part of a /sync, as a member, a former member or an invited user sees it.

May import rooms and storage. Source: Client-Server API, "Syncing", "Lazy-loading room members". Next: build.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from thingroom_homeserver.core.client_event import stripped_state
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.present import STRIPPED_TYPES, JsonObject, Viewer, present_event, present_state
from thingroom_homeserver.rooms.relations import aggregations
from thingroom_homeserver.rooms.tokens import page_token
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import MEMBER, StateKey, current_entry
from thingroom_homeserver.storage.memberships import MembershipChange, first_members, member_count
from thingroom_homeserver.storage.out_of_band import out_of_band_of
from thingroom_homeserver.sync.lazy_members import NOBODY_TOLD, ToldMembers
from thingroom_homeserver.sync.request import SyncRequest
from thingroom_homeserver.sync.state_delta import members_at, state_delta, whole_state
from thingroom_homeserver.sync.timeline import Timeline, read_timeline, without_overruled

HEROES = 5


@dataclass(frozen=True, slots=True)
class Span:
    """Which part of a room's history to tell: since < position <= upto; since None: the client does not know the room.

    `whole`: tell the whole state even so.
    """

    room_id: str
    since: int | None
    upto: int
    whole: bool


def joined_section(
    rooms: Rooms,
    connection: Reader,
    viewer: Viewer,
    request: SyncRequest,
    span: Span,
    ephemeral: list[JsonObject],
    account_data: list[JsonObject],
    told: ToldMembers = NOBODY_TOLD,
) -> JsonObject | None:
    """A room that the user is in; None if there is nothing to tell. `told`: whose member events the client has."""
    timeline = _timeline(rooms, connection, viewer, request, span)
    summary: JsonObject = {}
    heroes: list[str] = []
    if span.whole or _members_changed(connection, span):
        summary, heroes = _summary(rooms, connection, request.user_id, span.room_id)
    state = _state(rooms, connection, viewer, request, span, timeline, heroes, told)
    if not (span.whole or timeline.events or timeline.limited or state or ephemeral or account_data or summary):
        return None
    return {
        "summary": summary,
        request.state_name: {"events": state},
        "timeline": _present(rooms, connection, viewer, timeline),
        "ephemeral": {"events": ephemeral},
        "account_data": {"events": account_data},
        "unread_notifications": {"highlight_count": 0, "notification_count": 0},
    }


def left_section(
    rooms: Rooms, connection: Reader, viewer: Viewer, request: SyncRequest, span: Span, account_data: list[JsonObject]
) -> JsonObject:
    """A room that the user was in, up to the leaving."""
    timeline = _timeline(rooms, connection, viewer, request, span)
    return {
        request.state_name: {"events": _state(rooms, connection, viewer, request, span, timeline, [], NOBODY_TOLD)},
        "timeline": _present(rooms, connection, viewer, timeline),
        "account_data": {"events": account_data},
    }


def refused_section(
    rooms: Rooms, connection: Reader, viewer: Viewer, request: SyncRequest, change: MembershipChange
) -> JsonObject:
    """A room that the user was not in, with the end of their invite or knock: that event and nothing of the room."""
    stored = rooms.events.get(connection, change.event_id)
    events = [(stored, change.membership)] if stored is not None else []
    timeline = Timeline(events, change.position - 1, False)
    return {
        request.state_name: {"events": []},
        "timeline": _present(rooms, connection, viewer, timeline),
        "account_data": {"events": []},
    }


def stripped_section(rooms: Rooms, connection: Reader, change: MembershipChange) -> list[JsonObject]:
    """The stripped state for an invited or knocking user: what the room is, who invites, and that event itself.

    Of a room that this server is not in: what its servers showed then.
    """
    room_id, change_event_id = change.room_id, change.event_id
    entry = out_of_band_of(connection, room_id, change.user_id)
    if entry is not None and entry.event_id == change_event_id:
        return list(entry.stripped_state)
    ids = [current_entry(connection, room_id, event_type, "") for event_type in STRIPPED_TYPES]
    own = rooms.events.get(connection, change_event_id)
    if own is not None and own.event.sender != own.event.state_key:
        ids.append(current_entry(connection, room_id, MEMBER, own.event.sender))
    ids.append(change_event_id)
    found = rooms.events.get_many(connection, [event_id for event_id in ids if event_id is not None])
    return [stripped_state(found[event_id].event) for event_id in ids if event_id in found]


def _timeline(rooms: Rooms, connection: Reader, viewer: Viewer, request: SyncRequest, span: Span) -> Timeline:
    wanted = request.sync_filter
    timeline = read_timeline(
        rooms,
        connection,
        request.user_id,
        span.room_id,
        since=span.since,
        upto=span.upto,
        limit=wanted.timeline_limit,
        event_filter=wanted.timeline,
        ignored=viewer.ignored,
    )
    if span.since is None and request.since is not None:
        # The client may know an earlier stay in the room, which this does not continue.
        timeline = replace(timeline, limited=True)
    # With `state_after` the state does not come from the timeline.
    return timeline if request.state_after else without_overruled(connection, span.room_id, timeline, span.upto)


def _state(
    rooms: Rooms,
    connection: Reader,
    viewer: Viewer,
    request: SyncRequest,
    span: Span,
    timeline: Timeline,
    heroes: list[str],
    told: ToldMembers,
) -> list[JsonObject]:
    wanted = request.sync_filter
    if not wanted.state.allows_room(span.room_id):
        return []
    lazy, at_end = wanted.lazy_load_members, request.state_after is not None
    shown = {stored.event.sender for stored, _ in timeline.events} | set(heroes) if lazy else set()
    entries: dict[StateKey, str]
    if span.whole or span.since is None:
        members = shown | {request.user_id} if lazy else None
        entries = whole_state(connection, span.room_id, timeline, upto=span.upto, at_end=at_end, members=members)
    else:
        entries = state_delta(connection, span.room_id, timeline, since=span.since, upto=span.upto, at_end=at_end)
        if lazy:
            needed = members_at(connection, span.room_id, shown, timeline, upto=span.upto, at_end=at_end)
            if not wanted.redundant_members:
                needed = {key: event for key, event in needed.items() if not told.knows(span.room_id, key[1], event)}
            entries = needed | entries
    if lazy:
        told.note(span.room_id, span.upto, _members_in(entries, timeline))
    if not entries:
        return []
    if wanted.state.takes_all:
        return present_state(rooms, connection, viewer, entries.values())
    found = rooms.events.get_many(connection, entries.values())
    passing = [event_id for event_id, stored in found.items() if wanted.state.allows(stored.event)]
    return present_state(rooms, connection, viewer, passing)


def _members_in(entries: Mapping[StateKey, str], timeline: Timeline) -> dict[str, str]:
    """The member events that the client gets, by user."""
    members = {key[1]: event_id for key, event_id in entries.items() if key[0] == MEMBER}
    for stored, _ in timeline.events:
        if stored.event.type == MEMBER and stored.event.state_key is not None:
            members[stored.event.state_key] = stored.event_id
    return members


def _present(rooms: Rooms, connection: Reader, viewer: Viewer, timeline: Timeline) -> JsonObject:
    # Without a gap the client has the children of these events, or gets them with the timeline.
    told = [stored for stored, _ in timeline.events] if timeline.limited else []
    relations = aggregations(rooms, connection, viewer, told)
    return {
        "events": [
            present_event(
                rooms, connection, viewer, stored, membership=membership, relations=relations.get(stored.event_id)
            )
            for stored, membership in timeline.events
        ],
        "limited": timeline.limited,
        "prev_batch": page_token(timeline.start),
    }


def _members_changed(connection: Reader, span: Span) -> bool:
    if span.since is None:
        return True
    row = connection.execute(
        "SELECT 1 FROM state_changes WHERE room_id = ? AND position > ? AND position <= ? AND type = ? LIMIT 1",
        (span.room_id, span.since, span.upto, MEMBER),
    ).fetchone()
    return row is not None


def _summary(rooms: Rooms, connection: Reader, user_id: str, room_id: str) -> tuple[JsonObject, list[str]]:
    """Counts, and the heroes by which a room without a name is called."""
    summary: JsonObject = {
        "m.joined_member_count": member_count(connection, room_id, "join"),
        "m.invited_member_count": member_count(connection, room_id, "invite"),
    }
    if _has_name(rooms, connection, room_id):
        return summary, []
    heroes = first_members(connection, room_id, ("join", "invite"), user_id, HEROES)
    if not heroes:
        heroes = first_members(connection, room_id, ("leave", "ban"), user_id, HEROES)
    return summary | {"m.heroes": heroes}, heroes


def _has_name(rooms: Rooms, connection: Reader, room_id: str) -> bool:
    for event_type, key in (("m.room.name", "name"), ("m.room.canonical_alias", "alias")):
        event_id = current_entry(connection, room_id, event_type, "")
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        if stored is not None and stored.event.content.get(key):
            return True
    return False
