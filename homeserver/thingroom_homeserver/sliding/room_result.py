"""One room of a sliding sync answer: for a member, a former member, or somebody invited or knocking.

The first time on a connection everything that is asked for, then only what changed since the client was told.
May import rooms, storage and sync. Source: MSC4186, "RoomResult", "Changing room configs". Next: answer.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.event_filter import NO_FILTER
from thingroom_homeserver.rooms.present import JsonObject, Viewer, present_event, present_state
from thingroom_homeserver.rooms.tokens import page_token
from thingroom_homeserver.sliding.connections import MAX_MEMBERS_REMEMBERED, Told
from thingroom_homeserver.sliding.required_state import Combined, is_lazy, wants
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import (
    MEMBER,
    StateChange,
    StateKey,
    changes_after,
    changes_between,
    current_entry,
    load_current_state,
    load_state_without_members,
    rewind,
)
from thingroom_homeserver.storage.memberships import MembershipChange, first_members, last_joined_position, member_count
from thingroom_homeserver.storage.sliding import last_bump_position, was_away
from thingroom_homeserver.sync.room_sections import HEROES, stripped_section
from thingroom_homeserver.sync.state_delta import member_entries
from thingroom_homeserver.sync.timeline import Timeline, read_timeline

NAME, AVATAR = ("m.room.name", ""), ("m.room.avatar", "")


@dataclass(frozen=True, slots=True)
class Ask:
    """What to make: the room up to `upto`, for a client that knows `told` of it (None: nothing).

    since: where the connection stands; None in its first answer. limit, required: the combined room config.
    """

    room_id: str
    since: int | None
    upto: int
    told: Told | None
    limit: int
    required: Combined
    is_dm: bool

    @property
    def known_upto(self) -> int | None:
        """Up to where the client knows the room; None: it does not."""
        if self.told is None:
            return None
        return self.since if self.told.upto is None else self.told.upto


@dataclass(frozen=True, slots=True)
class Result:
    """The room's JSON, empty if there is no news, and what the client then knows."""

    body: JsonObject
    told: Told


def joined_result(rooms: Rooms, connection: Reader, viewer: Viewer, ask: Ask) -> Result:
    """A room that the user is in at `upto`."""
    known = ask.known_upto
    if known is not None and (
        ask.told is None
        or ask.told.kind != "join"
        or was_away(connection, ask.room_id, viewer.user_id, known, ask.upto)
    ):
        known = None
    return _shown(rooms, connection, viewer, ask, known, "join")


def left_result(rooms: Rooms, connection: Reader, viewer: Viewer, ask: Ask, change: MembershipChange) -> Result:
    """A room that the user is not in after `change`: up to the leaving, or only the end of an invite or knock."""
    ended = last_joined_position(connection, ask.room_id, viewer.user_id)
    if ended is None:
        return _refused(rooms, connection, viewer, ask, change)
    upto = min(ended, change.position)
    known = ask.known_upto
    if known is not None and (ask.told is None or ask.told.kind != "join" or known > upto):
        known = None
    # Left, came back and left again: what was missed in between makes the room unknown again.
    if known is not None and was_away(connection, ask.room_id, viewer.user_id, known, upto - 1):
        known = None
    result = _shown(rooms, connection, viewer, replace(ask, upto=upto), known, "left")
    body = result.body | {"membership": change.membership, "bump_stamp": change.position}
    for name in ("joined_count", "invited_count", "heroes"):
        body.pop(name, None)  # those of today are none of a former member's business
    return Result(body, result.told)


def stripped_result(rooms: Rooms, connection: Reader, ask: Ask, change: MembershipChange) -> Result:
    """A room that the user is invited to or knocks at."""
    body: JsonObject = {
        "initial": True,
        "membership": change.membership,
        "bump_stamp": change.position,
        "stripped_state": stripped_section(rooms, connection, change),
    }
    if ask.is_dm:
        body["is_dm"] = True
    return Result(body, Told(None, "stripped", is_dm=ask.is_dm))


def _refused(rooms: Rooms, connection: Reader, viewer: Viewer, ask: Ask, change: MembershipChange) -> Result:
    stored = rooms.events.get(connection, change.event_id)
    event = None if stored is None else present_event(rooms, connection, viewer, stored, membership=change.membership)
    body: JsonObject = {"initial": True, "membership": change.membership, "bump_stamp": change.position}
    if event is not None:
        body["timeline"], body["num_live"] = [event], 1
        if wants(ask.required, MEMBER, viewer.user_id) or is_lazy(ask.required):
            body["required_state"] = [event]
    return Result(body, Told(None, "left"))


def _shown(rooms: Rooms, connection: Reader, viewer: Viewer, ask: Ask, known: int | None, kind: str) -> Result:
    """The room as a member sees it. `known`: up to where the client knows it; None: tell everything."""
    told = ask.told if known is not None else None
    expand = told is not None and ask.limit > told.timeline_limit
    timeline = read_timeline(
        rooms,
        connection,
        viewer.user_id,
        ask.room_id,
        since=None if expand else known,
        upto=ask.upto,
        limit=ask.limit,
        event_filter=NO_FILTER,
        ignored=viewer.ignored,
    )
    changes: Mapping[StateKey, StateChange] = (
        {} if known is None else changes_between(connection, ask.room_id, known, ask.upto)
    )
    entries, gone, members = _state(connection, ask, told, timeline, changes)
    body: JsonObject = {}
    if known is None:
        body |= {"initial": True, "membership": "join"}
    if timeline.events:
        body["timeline"] = [
            present_event(rooms, connection, viewer, stored, membership=membership)
            for stored, membership in timeline.events
        ]
        if expand and known is not None and any((stored.position or 0) <= known for stored, _ in timeline.events):
            body["expanded_timeline"] = True
    state = present_state(rooms, connection, viewer, entries.values())
    state += [{"type": key[0], "state_key": key[1]} for key in gone]
    if state:
        body["required_state"] = state
    body |= _named(rooms, connection, viewer.user_id, ask, known, changes)
    if ask.is_dm != (told is not None and told.is_dm):
        body["is_dm"] = ask.is_dm
    bump = last_bump_position(connection, ask.room_id, ask.upto)
    if bump is not None and (known is None or bump > known):
        body["bump_stamp"] = bump
    # A span whose events the viewer may not see, or asks none of, is news all the same where it is limited.
    if body or (timeline.limited and not expand):
        body["limited"] = timeline.limited
        body["prev_batch"] = page_token(timeline.start)
        floor = ask.since
        body["num_live"] = 0 if floor is None else sum((s.position or 0) > floor for s, _ in timeline.events)
    complete = told is not None and not expand and not timeline.limited
    limit = max(told.timeline_limit, ask.limit) if complete and told is not None else ask.limit
    return Result(body, Told(None, kind, limit, ask.required, members, ask.is_dm))


def _state(
    connection: Reader, ask: Ask, told: Told | None, timeline: Timeline, changes: Mapping[StateKey, StateChange]
) -> tuple[dict[StateKey, str], list[StateKey], frozenset[str]]:
    """What of the state to tell, what of it is gone, and whose member events the client got by lazy loading."""
    required, room_id, upto = ask.required, ask.room_id, ask.upto
    known_members = frozenset() if told is None else told.members
    entries: dict[StateKey, str] = {}
    gone: list[StateKey] = []
    if told is None:
        entries = _select(connection, room_id, required, upto)
    else:
        if told.required != required:
            fresh = _select(connection, room_id, required, upto)
            entries = {key: event_id for key, event_id in fresh.items() if not wants(told.required, *key)}
        for key, change in changes.items():
            lazily = is_lazy(required) and key[0] == MEMBER and (not timeline.limited or key[1] in known_members)
            if not lazily and not wants(required, *key):
                continue
            if change.after is None:
                gone.append(key)
            else:
                entries[key] = change.after
    if not is_lazy(required):
        return entries, gone, frozenset()
    shown = _people_of(timeline)
    missing = [user_id for user_id in shown - known_members if (MEMBER, user_id) not in entries]
    if missing:
        found = rewind(member_entries(connection, room_id, missing), changes_after(connection, room_id, upto))
        entries |= {(MEMBER, user_id): found[MEMBER, user_id] for user_id in missing if (MEMBER, user_id) in found}
    lazily_told = frozenset(key[1] for key in entries if key[0] == MEMBER)
    members = known_members | lazily_told
    return entries, gone, members if len(members) <= MAX_MEMBERS_REMEMBERED else shown


def _people_of(timeline: Timeline) -> frozenset[str]:
    """Senders, and those whose membership changed."""
    people = {stored.event.sender for stored, _ in timeline.events}
    people |= {stored.event.state_key or "" for stored, _ in timeline.events if stored.event.type == MEMBER}
    return frozenset(people)


def _select(connection: Reader, room_id: str, required: Combined, upto: int) -> dict[StateKey, str]:
    """The entries of the state at `upto` that are wanted, reading no more of the state than that takes."""
    patterns = {pattern for one in required for pattern in one.include}
    state: dict[StateKey, str] = {}
    everyone = any(
        pattern[0] in (None, MEMBER) and pattern[1] is None and not one.lazy
        for one in required
        for pattern in one.include
    )
    if everyone and any(pattern[0] is None for pattern in patterns):
        state = load_current_state(connection, room_id)
    else:
        if any(pattern[0] is None for pattern in patterns):
            state = load_state_without_members(connection, room_id)
        for event_type, state_key in patterns:
            if event_type is not None and state_key is not None:
                state |= _one(connection, room_id, (event_type, state_key))
            elif event_type is not None and (event_type != MEMBER or everyone):
                state |= _of_type(connection, room_id, event_type)
            elif state_key is not None:
                state |= _one(connection, room_id, (MEMBER, state_key))
    state = rewind(state, changes_after(connection, room_id, upto))
    return {key: event_id for key, event_id in state.items() if wants(required, *key)}


def _one(connection: Reader, room_id: str, key: StateKey) -> dict[StateKey, str]:
    event_id = current_entry(connection, room_id, *key)
    return {} if event_id is None else {key: event_id}


def _of_type(connection: Reader, room_id: str, event_type: str) -> dict[StateKey, str]:
    rows = connection.execute(
        "SELECT state_key, event_id FROM current_state WHERE room_id = ? AND type = ?", (room_id, event_type)
    )
    return {(event_type, row[0]): row[1] for row in rows}


def _named(
    rooms: Rooms, connection: Reader, user_id: str, ask: Ask, known: int | None, changes: Mapping[StateKey, StateChange]
) -> JsonObject:
    """What a room list shows: name, avatar, heroes for want of a name, counts; as far as it changed."""
    body: JsonObject = {}
    name = _content(rooms, connection, ask, NAME, "name")
    avatar = _content(rooms, connection, ask, AVATAR, "url")
    for field, key, value in (("name", NAME, name), ("avatar", AVATAR, avatar)):
        if (known is None and value is not None) or key in changes:
            body[field] = value
    if known is not None and NAME not in changes and not any(key[0] == MEMBER for key in changes):
        return body
    body["joined_count"] = member_count(connection, ask.room_id, "join")
    body["invited_count"] = member_count(connection, ask.room_id, "invite")
    if name is None:
        body["heroes"] = _heroes(rooms, connection, user_id, ask.room_id)
    return body


def _heroes(rooms: Rooms, connection: Reader, user_id: str, room_id: str) -> list[JsonObject]:
    users: Iterable[str] = first_members(connection, room_id, ("join", "invite"), user_id, HEROES)
    users = users or first_members(connection, room_id, ("leave", "ban"), user_id, HEROES)
    heroes = []
    for user in users:
        hero: JsonObject = {"user_id": user}
        event_id = current_entry(connection, room_id, MEMBER, user)
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        for name in ("displayname", "avatar_url"):
            value = None if stored is None else stored.event.content.get(name)
            if isinstance(value, str):
                hero[name] = value
        heroes.append(hero)
    return heroes


def _content(rooms: Rooms, connection: Reader, ask: Ask, key: StateKey, field: str) -> str | None:
    entry = rewind(_one(connection, ask.room_id, key), changes_after(connection, ask.room_id, ask.upto)).get(key)
    stored = None if entry is None else rooms.events.get(connection, entry)
    value = None if stored is None else stored.event.content.get(field)
    return value if isinstance(value, str) and value else None
