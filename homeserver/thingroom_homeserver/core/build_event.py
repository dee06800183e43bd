"""Making an event of our own: fields in, hashed and signed Event out.

Imports this package only. The caller has chosen auth and prev events, the depth and the time. Source: Server-Server
API, "Adding hashes and signatures to outgoing events". Next: auth_rules/, which the event must pass like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from thingroom_homeserver.core.canonical_json import (
    MAX_NESTING,
    NESTING_OUTSIDE,
    JsonObject,
    check_canonical,
    encode_checked,
)
from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.hashing import content_hash, reference_hash_of_signed, signed_part
from thingroom_homeserver.core.room_rules import RoomRules
from thingroom_homeserver.core.signing import SigningKey

_NO_HASHES: Mapping[str, str] = {}


def build_event(
    *,
    rules: RoomRules,
    room_id: str | None,
    type: str,
    state_key: str | None = None,
    sender: str,
    content: JsonObject,
    auth_event_ids: Sequence[str],
    prev_event_ids: Sequence[str],
    depth: int,
    origin_server_ts: int,
    redacts: str | None = None,
    server_name: str,
    signing_key: SigningKey,
    event_id: str | None = None,
    reference_hashes: Mapping[str, str] = _NO_HASHES,
) -> Event:
    """Build, hash and sign an event.

    `room_id`: None for the create event of a room version whose room ID is made of it (12); see the result's.
    `redacts`: the target of an m.room.redaction; goes to `content` or beside it as the room version wants.
    `event_id`: room versions 1 and 2 only, and there required: `$<something unique>:<server_name>`.
    `reference_hashes`: room versions 1 and 2 only: the reference hashes of the auth and prev events, by event ID.
    Raises CanonicalJsonError when `content` cannot be in an event that is to travel: also if it nests more than
    MAX_NESTING - NESTING_OUTSIDE - 1 levels. Whether it is too large, `event.size_fault` tells.
    """
    pdu: JsonObject = {
        "type": type,
        "sender": sender,
        "content": content,
        "auth_events": list(auth_event_ids),
        "prev_events": list(prev_event_ids),
        "depth": depth,
        "origin_server_ts": origin_server_ts,
    }
    if room_id is not None:
        pdu["room_id"] = room_id
    if state_key is not None:
        pdu["state_key"] = state_key
    if redacts is not None:
        if rules.redacts_in_content:
            pdu["content"] = content | {"redacts": redacts}
        else:
            pdu["redacts"] = redacts
    if rules.references_carry_hashes:
        for name in ("auth_events", "prev_events"):
            pdu[name] = [[known, _hashes(reference_hashes.get(known))] for known in pdu[name]]
    if not rules.event_ids_are_hashes:
        if event_id is None:
            raise ValueError(f"room version {rules.version} needs an event_id")
        pdu["event_id"] = event_id
    check_canonical(pdu, MAX_NESTING - NESTING_OUTSIDE)
    return _signed_event(pdu, server_name, signing_key, rules)


def _signed_event(pdu: JsonObject, server_name: str, key: SigningKey, rules: RoomRules) -> Event:
    pdu["hashes"] = {"sha256": content_hash(pdu, rules, checked=True)}
    data = encode_checked(signed_part(pdu, rules))
    pdu["signatures"] = {server_name: {key.key_id: key.sign(data)}}
    event_id = "$" + reference_hash_of_signed(data, rules) if rules.event_ids_are_hashes else str(pdu["event_id"])
    return event_of_pdu(pdu, event_id, rules)


def _hashes(reference_hash: str | None) -> JsonObject:
    return {} if reference_hash is None else {"sha256": reference_hash}
