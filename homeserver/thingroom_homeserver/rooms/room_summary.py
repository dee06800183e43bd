"""What is told of a room to people who are not in it: the directory's entries and room summaries.

May import core and storage. Source: Client-Server API, "Published room directory", "Room Summaries".
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from thingroom_homeserver.core.event_visibility import visibility_of
from thingroom_homeserver.core.room_rules import ROOM_RULES
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.storage.appservices import listed_rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.current_state import current_entry
from thingroom_homeserver.storage.memberships import member_count, membership_of
from thingroom_homeserver.storage.rooms import is_known, public_room_ids, room_row

# Summaries made in one turn of the event loop.
A_TURN = 10
_LATEST = ROOM_RULES["12"]
_UNKNOWN = Refused(Why.NOT_FOUND, "There is no such room, or you may not see it")


@dataclass(frozen=True, slots=True)
class DirectorySearch:
    """room_types: None for any; an entry None stands for rooms without a type.

    instance_id: the network of an application service whose directory is meant; all_networks: theirs besides ours.
    """

    term: str | None = None
    room_types: tuple[str | None, ...] | None = None
    instance_id: str | None = None
    all_networks: bool = False


def summarise(rooms: Rooms, connection: Reader, room_id: str) -> JsonObject:
    """The room as strangers are shown it; the room must be stored."""

    def content(event_type: str) -> JsonObject:
        event_id = current_entry(connection, room_id, event_type, "")
        stored = None if event_id is None else rooms.events.get(connection, event_id)
        return {} if stored is None else stored.event.content

    visibility_id = current_entry(connection, room_id, "m.room.history_visibility", "")
    visibility = None if visibility_id is None else rooms.events.get(connection, visibility_id)
    row = room_row(connection, room_id)
    summary: JsonObject = {
        "room_id": room_id,
        "num_joined_members": member_count(connection, room_id, "join"),
        "world_readable": visibility_of(None if visibility is None else visibility.event) == "world_readable",
        "guest_can_join": content("m.room.guest_access").get("guest_access") == "can_join",
    }
    for name, value in (
        ("name", content("m.room.name").get("name")),
        ("topic", content("m.room.topic").get("topic")),
        ("canonical_alias", content("m.room.canonical_alias").get("alias")),
        ("avatar_url", content("m.room.avatar").get("url")),
        ("join_rule", content("m.room.join_rules").get("join_rule")),
        ("room_type", content("m.room.create").get("type")),
        ("encryption", content("m.room.encryption").get("algorithm")),
        ("room_version", None if row is None else row.version),
    ):
        if isinstance(value, str):
            summary[name] = value
    return summary


def summary_for(rooms: Rooms, connection: Reader, room_id: str, user_id: str) -> JsonObject | Refused:
    """A room's summary, for its members, invited users, and anyone if the room may be found."""
    if not is_known(connection, room_id):
        return _UNKNOWN
    member = membership_of(connection, room_id, user_id)
    summary = summary_with_conditions(rooms, connection, room_id)
    if not may_find(rooms, connection, user_id, summary):
        return _UNKNOWN
    return summary | ({"membership": member.membership} if member is not None else {})


def summary_with_conditions(rooms: Rooms, connection: Reader, room_id: str) -> JsonObject:
    """`summarise`, and for a restricted room the rooms whose members may join."""
    summary = summarise(rooms, connection, room_id)
    if summary.get("join_rule") in ("restricted", "knock_restricted"):
        summary["allowed_room_ids"] = _allowed_rooms(rooms, connection, room_id)
    return summary


def may_find(rooms: Rooms, connection: Reader, user_id: str, summary: JsonObject) -> bool:
    """Whether the user may be told of the room: in it, invited, able to join or knock, or it is world readable."""
    if summary["world_readable"]:
        return True
    member = membership_of(connection, summary["room_id"], user_id)
    membership = "leave" if member is None else member.membership
    if membership in ("join", "invite", "knock"):
        return True
    # Other servers may leave the version out, or tell of one that is not known here.
    rules, join_rule = ROOM_RULES.get(summary.get("room_version", ""), _LATEST), summary.get("join_rule")
    if membership == "ban":
        return False
    if join_rule == "public" or (join_rule == "knock" and rules.knock):
        return True
    if join_rule == "knock_restricted":
        return rules.knock_restricted_join
    allowed = summary.get("allowed_room_ids", ()) if join_rule == "restricted" and rules.restricted_join else ()
    return any(rooms.occupancy.is_joined(other, user_id) for other in allowed)


def _allowed_rooms(rooms: Rooms, connection: Reader, room_id: str) -> list[str]:
    """The rooms that the conditions of a restricted room name."""
    event_id = current_entry(connection, room_id, "m.room.join_rules", "")
    stored = None if event_id is None else rooms.events.get(connection, event_id)
    allow = None if stored is None else stored.event.content.get("allow")
    named = [
        entry.get("room_id")
        for entry in (allow if isinstance(allow, list) else ())
        if isinstance(entry, dict) and entry.get("type") == "m.room_membership"
    ]
    return list(dict.fromkeys(other for other in named if isinstance(other, str)))


async def published_rooms(rooms: Rooms, search: DirectorySearch) -> list[JsonObject]:
    """The directory's rooms that match, those with most members first."""
    found: list[JsonObject] = []
    room_ids = rooms.database.read(partial(_listed, search))
    for start in range(0, len(room_ids), A_TURN):
        some = room_ids[start : start + A_TURN]
        summaries = rooms.database.read(partial(_summarise_all, rooms, some))
        found += [summary for summary in summaries if _matches(summary, search)]
        await asyncio.sleep(0)
    return sorted(found, key=lambda summary: (-summary["num_joined_members"], summary["room_id"]))


def _listed(search: DirectorySearch, connection: Reader) -> list[str]:
    if search.instance_id is not None:
        return listed_rooms(connection, search.instance_id)
    of_networks = listed_rooms(connection, None) if search.all_networks else []
    return list(dict.fromkeys((*public_room_ids(connection), *of_networks)))


def _summarise_all(rooms: Rooms, room_ids: list[str], connection: Reader) -> list[JsonObject]:
    return [summarise(rooms, connection, room_id) for room_id in room_ids]


def _matches(summary: JsonObject, search: DirectorySearch) -> bool:
    if search.room_types is not None and summary.get("room_type") not in search.room_types:
        return False
    if search.term is None:
        return True
    texts = (summary.get(name, "") for name in ("name", "topic", "canonical_alias"))
    return any(search.term.casefold() in text.casefold() for text in texts)
