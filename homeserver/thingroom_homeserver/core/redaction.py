"""The redaction algorithm: what is left of an event when everything the protocol does not need is taken away.

Imports room_rules and canonical_json's types. It is also the first step of every event signature and reference hash,
so it runs on each event sent: shallow copies only. Next: hashing.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.room_rules import RoomRules

_NOTHING: frozenset[str] = frozenset()


def redact(pdu: JsonObject, rules: RoomRules) -> JsonObject:
    """The redacted form of `pdu` under `rules`. A new dict; values that survive whole are shared with `pdu`.

    Source: "Redactions" of the room version pages. `unsigned` does not survive.
    """
    keeps = rules.redaction_keeps
    redacted = {key: value for key, value in pdu.items() if key in keeps}
    content = pdu.get("content")
    if type(content) is dict:
        redacted["content"] = _redact_content(pdu.get("type"), content, rules)
    return redacted


def _redact_content(event_type: object, content: JsonObject, rules: RoomRules) -> JsonObject:
    if event_type == "m.room.create" and rules.redaction_keeps_all_create_content:
        return content
    keeps = rules.redaction_keeps_in_content.get(event_type, _NOTHING) if isinstance(event_type, str) else _NOTHING
    kept = {key: content[key] for key in keeps if key in content}
    if event_type == "m.room.member" and rules.redaction_keeps_third_party_signed:
        third_party_invite = content.get("third_party_invite")
        if isinstance(third_party_invite, dict):
            signed = third_party_invite.get("signed", _NOTHING)
            kept["third_party_invite"] = {} if signed is _NOTHING else {"signed": signed}
    return kept
