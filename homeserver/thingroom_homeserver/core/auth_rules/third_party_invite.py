"""Rule 5.4.1: an invite that redeems an m.room.third_party_invite, such as one sent by e-mail.

Imports situation and signing. Source: rule 5.4.1 of room version 12; the versions before count from 4. Next: checks.py.
"""

from __future__ import annotations

from collections.abc import Iterator

from thingroom_homeserver.core.auth_rules.situation import Situation
from thingroom_homeserver.core.auth_rules.verdict import ALLOWED, Rejected, Verdict
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.signing import decode_base64, verify_json


def check_third_party_invite(situation: Situation, target: str) -> Verdict:
    """Whether the identity server's signed statement in the invite matches the room's third-party invite."""
    event = situation.event
    # 5.4.1.1 If target user is banned, reject.
    if situation.membership_of(target) == "ban":
        return Rejected(f"{target} is banned", "5.4.1.1")
    # 5.4.1.2 If content.third_party_invite does not have a signed property, reject.
    third_party_invite = event.content["third_party_invite"]
    signed = third_party_invite.get("signed") if isinstance(third_party_invite, dict) else None
    if not isinstance(signed, dict):
        return Rejected("third_party_invite has no signed property", "5.4.1.2")
    # 5.4.1.3 If signed does not have mxid and token properties, reject.
    token = signed.get("token")
    if "mxid" not in signed or not isinstance(token, str):
        return Rejected("signed has no mxid or no token", "5.4.1.3")
    # 5.4.1.4 If mxid does not match state_key, reject.
    if signed["mxid"] != target:
        return Rejected("mxid is not the invited user", "5.4.1.4")
    # 5.4.1.5 If there is no m.room.third_party_invite event in the current room state with state_key matching token,
    # reject.
    invite = situation.state.get(("m.room.third_party_invite", token))
    if invite is None:
        return Rejected("the room has no third-party invite with this token", "5.4.1.5")
    # 5.4.1.6 If sender does not match sender of the m.room.third_party_invite, reject.
    if event.sender != invite.sender:
        return Rejected("the third-party invite was sent by another user", "5.4.1.6")
    # 5.4.1.7 If any signature in signed matches any public key in the m.room.third_party_invite event, allow.
    signatures = signed.get("signatures")
    signers = [(server, key_id) for server, of_server in _objects(signatures) for key_id, _ in _objects(of_server)]
    for public_key in _public_keys(invite):
        if any(verify_json(signed, server, key_id, public_key) for server, key_id in signers):
            return ALLOWED
    # 5.4.1.8 Otherwise, reject.
    return Rejected("no signature matches a key of the third-party invite", "5.4.1.8")


def _objects(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, dict):
        yield from value.items()


def _public_keys(invite: Event) -> Iterator[bytes]:
    """`public_key`, and each `public_key` in `public_keys`, of the third-party invite; what is no key is left out."""
    keys = [invite.content.get("public_key")]
    more = invite.content.get("public_keys")
    if isinstance(more, list):
        keys += [entry.get("public_key") for entry in more if isinstance(entry, dict)]
    for key in keys:
        if isinstance(key, str) and (decoded := decode_base64(key)) is not None:
            yield decoded
