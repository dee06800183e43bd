"""Rule 1: m.room.create.

Imports identifiers, event and room_rules. Next: membership.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import is_valid_user_id, server_name_of
from thingroom_homeserver.core.room_rules import KNOWN_ROOM_VERSIONS, RoomRules


def check_create(event: Event, rules: RoomRules) -> Verdict:
    """Whether a create event may start a room."""
    content = event.content
    # 1.1 If it has any prev_events, reject.
    if event.prev_event_ids:
        return Rejected("a create event must not have prev_events", "1.1")
    if rules.room_id_is_create_event_id:
        # 1.2 If the event has a room_id, reject.
        if "room_id" in event.pdu:
            return Rejected("a create event must not have a room_id", "1.2")
    elif server_name_of(event.room_id) != server_name_of(event.sender):
        # Until v11, 1.2: if the domain of the room_id does not match the domain of the sender, reject.
        return Rejected("the domains of the room_id and of the sender differ", "v1:1.2")
    # 1.3 If content.room_version is present and is not a recognised version, reject.
    if "room_version" in content:
        version = content["room_version"]
        if not isinstance(version, str) or version not in KNOWN_ROOM_VERSIONS:
            return Rejected("the room version is not known", "1.3")
    # Until v10, 1.4: if content has no creator property, reject.
    if rules.creator_in_content and "creator" not in content:
        return Rejected("a create event must name the creator", "v1:1.4")
    # 1.4 If additional_creators is present and not an array of strings that are valid user IDs, reject.
    if rules.privileged_creators and "additional_creators" in content:
        creators = content["additional_creators"]
        if not isinstance(creators, list) or not all(is_valid_user_id(creator) for creator in creators):
            return Rejected("additional_creators must be a list of user IDs", "1.4")
    # 1.5 Otherwise, allow.
    return ALLOWED
