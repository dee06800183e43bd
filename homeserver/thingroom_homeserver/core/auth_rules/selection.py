"""Which state events authorise an event, and whether the event names just those.

Imports event, room_rules and verdict. Sources: Server-Server API, "Auth events selection"; rule 3 of room version 12
(rule 2 of the versions before). Next: checks.py.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import TypeAlias

from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.room_rules import RoomRules

StateKey: TypeAlias = tuple[str, str]
"""Event type and state key: a place in the room's state."""

CREATE: StateKey = ("m.room.create", "")
POWER_LEVELS: StateKey = ("m.room.power_levels", "")
JOIN_RULES: StateKey = ("m.room.join_rules", "")


def auth_types_for_event(event: Event, rules: RoomRules) -> set[StateKey]:
    """The places in the state whose events, where there are any, become the event's auth_events."""
    return auth_types(event.type, event.sender, event.state_key, event.content, rules)


def auth_types(
    event_type: str, sender: str, state_key: str | None, content: JsonObject, rules: RoomRules
) -> set[StateKey]:
    """As `auth_types_for_event`, for an event that is yet to be built."""
    if event_type == "m.room.create":
        return set()
    selected = {POWER_LEVELS, ("m.room.member", sender)}
    if rules.create_event_in_auth_events:
        selected.add(CREATE)
    if event_type == "m.room.member" and state_key is not None:
        selected.add(("m.room.member", state_key))
        membership = content.get("membership")
        if membership in ("join", "invite", "knock"):
            selected.add(JOIN_RULES)
        if membership == "invite" and (token := third_party_token(content)) is not None:
            selected.add(("m.room.third_party_invite", token))
        if membership == "join" and rules.restricted_join:
            voucher = content.get("join_authorised_via_users_server")
            if isinstance(voucher, str):
                selected.add(("m.room.member", voucher))
    return selected


def third_party_token(content: JsonObject) -> str | None:
    """`third_party_invite.signed.token` of a member event's content, if it is there and a string."""
    third_party_invite = content.get("third_party_invite")
    signed = third_party_invite.get("signed") if isinstance(third_party_invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


def check_auth_events_list(
    event: Event, auth_events: Iterable[Event], rules: RoomRules, *, rejected_event_ids: Container[str] = ()
) -> Verdict:
    """Whether the events that `event` names as its auth_events may be there at all.

    `auth_events`: those events, all of them. `rejected_event_ids`: says which of them were themselves rejected.
    """
    if event.type == "m.room.create":  # rule 1 decides alone
        return ALLOWED
    selected = auth_types_for_event(event, rules)
    seen: set[tuple[str, str | None]] = set()
    for auth_event in auth_events:
        place = (auth_event.type, auth_event.state_key)
        # 3.1 Duplicate entries for a given type and state_key pair: reject.
        if place in seen:
            return Rejected(f"auth_events has two events for {place}", "3.1")
        seen.add(place)
        # 3.2 Entries whose type and state_key don't match the selection (from v12 on m.room.create too): reject.
        if place not in selected:
            return Rejected(f"auth_events must not have an event for {place}", "3.2")
        # 3.3 Entries which were themselves rejected: reject.
        if auth_event.event_id in rejected_event_ids:
            return Rejected(f"the auth event {auth_event.event_id} was rejected", "3.3")
        # 3.5 Any event whose room_id does not match that of the event being authorised: reject.
        if auth_event.room_id != event.room_id:
            return Rejected(f"the auth event {auth_event.event_id} is in another room", "3.5")
    # Until v11, 2.4: no m.room.create event among the entries: reject.
    if rules.create_event_in_auth_events and CREATE not in seen:
        return Rejected("auth_events has no m.room.create event", "v1:2.4")
    return ALLOWED
