"""Rule 5: m.room.member, one function for each membership.

Imports situation, third_party_invite, power_levels. Numbers are room version 12's; the versions before count from 4,
v1 to v5 from 5. Next: third_party_invite.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.auth_rules.situation import Situation
from thingroom_homeserver.core.auth_rules.third_party_invite import check_third_party_invite
from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.identifiers import is_valid_user_id
from thingroom_homeserver.core.power_levels import room_creator


def check_membership(situation: Situation) -> Verdict:
    """Whether a member event may change its target's membership.

    The signature that rule 5.2 asks for is one of `signing.required_signing_servers`, so it has been checked before.
    """
    event = situation.event
    target = event.state_key
    # 5.1 If there is no state_key property, or no membership property in content, reject.
    if target is None or "membership" not in event.content:
        return Rejected("a member event needs a state_key and a membership", "5.1")
    if not is_valid_user_id(target):  # no rule says so, but no server takes it for a user
        return Rejected("the state_key of a member event must be a user ID", "5.1")
    match event.content["membership"]:
        case "join":
            return _check_join(situation, target)
        case "invite":
            return _check_invite(situation, target)
        case "leave":
            return _check_leave(situation, target)
        case "ban":
            return _check_ban(situation, target)
        case "knock" if situation.rules.knock:
            return _check_knock(situation, target)
    # 5.8 Otherwise, the membership is unknown. Reject.
    return Rejected("the membership is unknown", "5.8")


def _check_join(situation: Situation, target: str) -> Verdict:
    event, rules, create = situation.event, situation.rules, situation.create
    # 5.3.1 If the only previous event is an m.room.create and the state_key is the creator, allow.
    if event.prev_event_ids == (create.event_id,) and target == room_creator(create, rules):
        return ALLOWED
    # 5.3.2 If the sender does not match state_key, reject.
    if event.sender != target:
        return Rejected("nobody can join for somebody else", "5.3.2")
    membership, join_rule = situation.membership_of(target), situation.join_rule
    # 5.3.3 If the sender is banned, reject.
    if membership == "ban":
        return Rejected("the user is banned", "5.3.3")
    # 5.3.4 If the join_rule is invite or knock then allow if membership state is invite or join.
    if join_rule == "invite" or (join_rule == "knock" and rules.knock):
        if membership in ("invite", "join"):
            return ALLOWED
        return Rejected("the user is not invited", "5.3.7")
    # 5.3.5 If the join_rule is restricted or knock_restricted:
    if (join_rule == "restricted" and rules.restricted_join) or (
        join_rule == "knock_restricted" and rules.knock_restricted_join
    ):
        # 5.3.5.1 If membership state is join or invite, allow.
        if membership in ("join", "invite"):
            return ALLOWED
        # 5.3.5.2 If join_authorised_via_users_server is not a user with sufficient permission to invite other users or
        # is not a joined member of the room, reject.
        voucher = event.content.get("join_authorised_via_users_server")
        if not isinstance(voucher, str) or situation.membership_of(voucher) != "join":
            return Rejected("no member vouches for this join", "5.3.5.2")
        if situation.levels.user_level(voucher) < situation.levels.invite:
            return Rejected(f"{voucher} may not invite and so cannot vouch for this join", "5.3.5.2")
        # 5.3.5.3 Otherwise, allow.
        return ALLOWED
    # 5.3.6 If the join_rule is public, allow.
    if join_rule == "public":
        return ALLOWED
    # 5.3.7 Otherwise, reject.
    return Rejected("the room's join rule does not let anybody join", "5.3.7")


def _check_invite(situation: Situation, target: str) -> Verdict:
    event, levels = situation.event, situation.levels
    # 5.4.1 If content has a third_party_invite property: (see there)
    if "third_party_invite" in event.content:
        return check_third_party_invite(situation, target)
    # 5.4.2 If the sender's current membership state is not join, reject.
    if situation.membership_of(event.sender) != "join":
        return Rejected("the sender is not in the room", "5.4.2")
    # 5.4.3 If target user's current membership state is join or ban, reject.
    if (membership := situation.membership_of(target)) in ("join", "ban"):
        return Rejected(f"{target} is {'banned' if membership == 'ban' else 'in the room already'}", "5.4.3")
    # 5.4.4 If the sender's power level is greater than or equal to the invite level, allow.
    if levels.user_level(event.sender) >= levels.invite:
        return ALLOWED
    # 5.4.5 Otherwise, reject.
    return Rejected("the sender's power level is too low to invite", "5.4.5")


def _check_leave(situation: Situation, target: str) -> Verdict:
    event, levels = situation.event, situation.levels
    # 5.5.1 If the sender matches state_key, allow if and only if that user's current membership state is invite, join,
    # or (since v7) knock.
    if event.sender == target:
        membership = situation.membership_of(target)
        if membership in ("invite", "join") or (membership == "knock" and situation.rules.knock):
            return ALLOWED
        return Rejected("the user is not in the room", "5.5.1")
    # 5.5.2 If the sender's current membership state is not join, reject.
    if situation.membership_of(event.sender) != "join":
        return Rejected("the sender is not in the room", "5.5.2")
    sender_level = levels.user_level(event.sender)
    # 5.5.3 If the target user's current membership state is ban, and the sender's power level is less than the ban
    # level, reject.
    if situation.membership_of(target) == "ban" and sender_level < levels.ban:
        return Rejected("the sender's power level is too low to lift a ban", "5.5.3")
    # 5.5.4 If the sender's power level is greater than or equal to the kick level, and the target user's power level is
    # less than the sender's power level, allow.
    if sender_level >= levels.kick and levels.user_level(target) < sender_level:
        return ALLOWED
    # 5.5.5 Otherwise, reject.
    return Rejected(f"the sender's power level is too low to remove {target}", "5.5.5")


def _check_ban(situation: Situation, target: str) -> Verdict:
    event, levels = situation.event, situation.levels
    # 5.6.1 If the sender's current membership state is not join, reject.
    if situation.membership_of(event.sender) != "join":
        return Rejected("the sender is not in the room", "5.6.1")
    # 5.6.2 If the sender's power level is greater than or equal to the ban level, and the target user's power level is
    # less than the sender's power level, allow.
    sender_level = levels.user_level(event.sender)
    if sender_level >= levels.ban and levels.user_level(target) < sender_level:
        return ALLOWED
    # 5.6.3 Otherwise, reject.
    return Rejected(f"the sender's power level is too low to ban {target}", "5.6.3")


def _check_knock(situation: Situation, target: str) -> Verdict:
    join_rule = situation.join_rule
    # 5.7.1 If the join_rule is anything other than knock or (since v10) knock_restricted, reject.
    if join_rule != "knock" and not (join_rule == "knock_restricted" and situation.rules.knock_restricted_join):
        return Rejected("the room's join rule does not let anybody knock", "5.7.1")
    # 5.7.2 If sender does not match state_key, reject.
    if situation.event.sender != target:
        return Rejected("nobody can knock for somebody else", "5.7.2")
    # 5.7.3 If the sender's current membership is not ban, invite, or join, allow.
    if (membership := situation.membership_of(target)) not in ("ban", "invite", "join"):
        return ALLOWED
    # 5.7.4 Otherwise, reject.
    return Rejected(f"a user whose membership is {membership} cannot knock", "5.7.4")
