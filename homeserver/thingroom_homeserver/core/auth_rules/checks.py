"""The authorisation rules, top level: one event against one set of state.

Imports its neighbours. Comments carry room version 12's numbers and wording; a RoomRules field switches what differs.
Sources: "Authorisation rules" of the room version pages. Next: membership.py, then level_changes.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from thingroom_homeserver.core.auth_rules.create import check_create
from thingroom_homeserver.core.auth_rules.level_changes import check_level_changes
from thingroom_homeserver.core.auth_rules.membership import check_membership
from thingroom_homeserver.core.auth_rules.selection import StateKey
from thingroom_homeserver.core.auth_rules.situation import Situation
from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.identifiers import parse_event_id, server_name_of
from thingroom_homeserver.core.room_rules import RoomRules


def check_auth(event: Event, auth_state: Mapping[StateKey, Event], rules: RoomRules, *, create: Event) -> Verdict:
    """Whether `auth_state` authorises `event`.

    `auth_state` needs the events of `auth_types_for_event` and may hold more. `create` is the room's accepted
    m.room.create event (for a create event: itself). Not looked at: the list of auth_events (`check_auth_events_list`)
    and signatures (`signing.required_signing_servers`).
    """
    # 1. If type is m.room.create: (see there)
    if event.type == "m.room.create":
        return check_create(event, rules)
    # 2. (v12) If the room_id is not an event ID of an accepted m.room.create event, with ! instead of $, reject.
    if rules.room_id_is_create_event_id and event.room_id[1:] != create.event_id[1:]:
        return Rejected("the room_id is not that of the create event", "2")
    # 3. is check_auth_events_list.
    # 4. If m.federate in the create event is false, and the sender domain does not match that of the create event's
    # sender, reject.
    if create.content.get("m.federate") is False and server_name_of(event.sender) != server_name_of(create.sender):
        return Rejected("the room is not federated", "4")
    # Until v5, 4. If type is m.room.aliases:
    if event.type == "m.room.aliases" and rules.aliases_special_case:
        return _check_aliases(event)
    situation = Situation.of(event, auth_state, create, rules)
    # 5. If type is m.room.member: (see there)
    if event.type == "m.room.member":
        return check_membership(situation)
    # 6. If the sender's current membership state is not join, reject.
    if situation.membership_of(event.sender) != "join":
        return Rejected("the sender is not in the room", "6")
    levels = situation.levels
    sender_level = levels.user_level(event.sender)
    # 7. If type is m.room.third_party_invite: allow if and only if the sender's level is at least the invite level.
    if event.type == "m.room.third_party_invite":
        if sender_level >= levels.invite:
            return ALLOWED
        return Rejected("the sender's power level is too low to invite", "7.1")
    # 8. If the event type's required power level is greater than the sender's power level, reject.
    required = levels.event_level(event.type, is_state=event.state_key is not None)
    if required > sender_level:
        return Rejected(f"{event.type} needs power level {required}, the sender has {sender_level}", "8")
    # 9. If the event has a state_key that starts with an @ and does not match the sender, reject.
    if event.state_key is not None and event.state_key.startswith("@") and event.state_key != event.sender:
        return Rejected("the state_key is another user's ID", "9")
    # 10. If type is m.room.power_levels: (see there)
    if event.type == "m.room.power_levels":
        return check_level_changes(situation)
    # v1 and v2, 11. If type is m.room.redaction:
    if event.type == "m.room.redaction" and rules.redaction_in_auth_rules:
        return _check_redaction(situation)
    # 11. Otherwise, allow.
    return ALLOWED


def may_redact(redaction: Event, target: Event, redact_level_met: bool) -> bool:
    """Whether an accepted redaction is to be applied (room version 3, "Handling redactions").

    `redact_level_met`: whether the redaction's sender has the redact level.
    """
    if redaction.room_id != target.room_id:
        return False
    return redact_level_met or server_name_of(redaction.sender) == server_name_of(target.sender)


def _check_aliases(event: Event) -> Verdict:
    # 4.1 If event has no state_key, reject.
    if event.state_key is None:
        return Rejected("m.room.aliases must be a state event", "v1:4.1")
    # 4.2 If sender's domain doesn't match state_key, reject. 4.3 Otherwise, allow.
    if server_name_of(event.sender) != event.state_key:
        return Rejected("the state_key is not the sender's server", "v1:4.2")
    return ALLOWED


def _check_redaction(situation: Situation) -> Verdict:
    event, levels = situation.event, situation.levels
    # 11.1 If the sender's power level is greater than or equal to the redact level, allow.
    if levels.user_level(event.sender) >= levels.redact:
        return ALLOWED
    # 11.2 If the domain of the event_id of the event being redacted is the same as the domain of the event_id of the
    # m.room.redaction, allow.
    target = None if event.redacts is None else parse_event_id(event.redacts)
    own = parse_event_id(event.event_id)
    if target is not None and own is not None and target[1] == own[1]:
        return ALLOWED
    # 11.3 Otherwise, reject.
    return Rejected("the sender's power level is too low to redact another server's event", "v1:11.3")
