"""The Event: what a PDU becomes once its format is known to be right, and the two doors that make one.

Imports the modules of this package below it. `parse_untrusted_pdu` reads what other servers send and answers with a
MalformedEvent instead of raising; `load_stored_pdu` reads what we stored. Source: "Event format" of the room version
pages and Client-Server API, "Size limits". Next: auth_rules.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from thingroom_homeserver.core.canonical_json import (
    CanonicalJsonError,
    JsonObject,
    decode_json,
    encode_canonical_json,
    encode_checked,
)
from thingroom_homeserver.core.hashing import event_id_of
from thingroom_homeserver.core.identifiers import (
    is_domainless_room_id,
    is_valid_event_id,
    is_valid_room_id,
    is_valid_user_id,
    parse_event_id,
)
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.core.room_rules import ROOM_RULES, RoomRules

MAX_PDU_BYTES = 65536
MAX_FIELD_BYTES = 255
MAX_AUTH_EVENTS = 10
MAX_PREV_EVENTS = 20
MAX_ONCE = 2000
"""What fits into an event: there was no other limit once."""
_MAX_OWN_BYTES = MAX_PDU_BYTES - len(',"unsigned":{}')
"""For events built here: Synapse counts an empty `unsigned` that is not there."""
_MAX_TIMESTAMP = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Event:
    """One event of one room. Not to be changed, nor anything inside it.

    `pdu` is the event as servers exchange it, with hashes and signatures (and `event_id` in room versions 1 and 2
    only). `room_id` is set also for a version 12 create event, whose PDU has none. `origin_server_ts` is in
    milliseconds since 1970. `redacts` is the target of an m.room.redaction, wherever the room version puts it.
    """

    event_id: str
    room_id: str
    type: str
    state_key: str | None
    sender: str
    content: JsonObject
    origin_server_ts: int
    depth: int
    auth_event_ids: tuple[str, ...]
    prev_event_ids: tuple[str, ...]
    redacts: str | None
    unsigned: JsonObject
    pdu: JsonObject
    room_version: str

    @property
    def is_state(self) -> bool:
        """Whether it takes a place in the room's state."""
        return self.state_key is not None

    @property
    def rules(self) -> RoomRules:
        """The rules of its room version."""
        return ROOM_RULES[self.room_version]

    @property
    def size(self) -> int:
        """Bytes of the PDU as canonical JSON; at most MAX_PDU_BYTES may be sent or accepted. Encodes it to know."""
        if self.rules.strict_canonical_json:
            return len(encode_checked(self.pdu))
        return len(encode_canonical_json(self.pdu, strict=False))

    def __hash__(self) -> int:
        return hash(self.event_id)


@dataclass(frozen=True, slots=True)
class MalformedEvent:
    """Not an event of that room version; to be dropped. `reason` is one sentence for a log or an error response."""

    reason: str


def parse_untrusted_pdu(pdu: object, room_version: str, *, historic: bool = False) -> Event | MalformedEvent:
    """Check the format of a PDU from another server (step 1 of the checks on receipt) and compute its ID.

    `pdu` is decoded JSON. Signatures and the content hash are not checked here. `historic`: it comes from /backfill,
    where events may have more auth_events and prev_events than they may today.
    """
    rules = ROOM_RULES.get(room_version)
    if rules is None:
        return MalformedEvent(f"the room version {room_version!r} is not known")
    if not isinstance(pdu, dict):
        return MalformedEvent("a PDU must be an object")
    try:
        size = len(encode_canonical_json(pdu, strict=rules.strict_canonical_json))
    except CanonicalJsonError as error:
        return MalformedEvent(f"not canonical JSON: {error}")
    if size > MAX_PDU_BYTES:
        return MalformedEvent(f"the event has {size} bytes, more than {MAX_PDU_BYTES}")
    fault = _format_fault(pdu, rules, historic)
    if fault is not None:
        return MalformedEvent(fault)
    event_id = event_id_of(pdu, rules)
    return event_of_pdu(pdu, event_id, rules)


def load_stored_pdu(json_bytes: bytes, event_id: str, room_version: str) -> Event:
    """The event from the JSON that was stored for it. Trusts: nothing is checked and no hash computed."""
    pdu = decode_json(json_bytes) if room_version in _LAX_VERSIONS else orjson.loads(json_bytes)
    return event_of_pdu(pdu, event_id, ROOM_RULES[room_version])


_LAX_VERSIONS = frozenset(version for version, rules in ROOM_RULES.items() if not rules.strict_canonical_json)


def event_of_pdu(pdu: JsonObject, event_id: str, rules: RoomRules) -> Event:
    """The event of a PDU that is known to be well formed and to have this ID. The PDU is shared, not copied."""
    content = pdu["content"]
    event_type = pdu["type"]
    redacts = None
    if event_type == "m.room.redaction":
        redacts = content.get("redacts") if rules.redacts_in_content else pdu.get("redacts")
        if not isinstance(redacts, str):
            redacts = None
    made_of_id = event_type == "m.room.create" and rules.room_id_is_create_event_id
    room_id: str = "!" + event_id[1:] if made_of_id else pdu["room_id"]
    auth_events, prev_events = pdu["auth_events"], pdu["prev_events"]
    if rules.references_carry_hashes:
        auth_events = [reference[0] for reference in auth_events]
        prev_events = [reference[0] for reference in prev_events]
    return Event(
        event_id,
        room_id,
        event_type,
        pdu.get("state_key"),
        pdu["sender"],
        content,
        pdu["origin_server_ts"],
        pdu["depth"],
        tuple(auth_events),
        tuple(prev_events),
        redacts,
        pdu.get("unsigned") or {},
        pdu,
        rules.version,
    )


def redacted_event(event: Event) -> Event:
    """The same event with only what survives redaction: for one that was redacted or whose content hash is wrong."""
    return event_of_pdu(redact(event.pdu, event.rules), event.event_id, event.rules)


def size_fault(event: Event) -> str | None:
    """Why an event built here is too large to be sent (Client-Server API, "Size limits"), or None."""
    for name, value in (("type", event.type), ("state_key", event.state_key), ("sender", event.sender)):
        if value is not None and not _fits(value):
            return f"{name} is longer than {MAX_FIELD_BYTES} bytes"
    size = event.size
    return None if size <= _MAX_OWN_BYTES else f"the event has {size} bytes, more than {_MAX_OWN_BYTES}"


def _fits(text: str) -> bool:
    if text.isascii():
        return len(text) <= MAX_FIELD_BYTES
    return len(text.encode("utf-8", "surrogatepass")) <= MAX_FIELD_BYTES


def _is_integer(value: object, low: int, high: int) -> bool:
    return type(value) is int and low <= value <= high


def _format_fault(pdu: dict[str, Any], rules: RoomRules, historic: bool) -> str | None:
    """What is wrong with the fields of a PDU, or None."""
    event_type = pdu.get("type")
    if not isinstance(event_type, str) or not _fits(event_type):
        return "type must be a string of at most 255 bytes"
    if not is_valid_user_id(pdu.get("sender")):
        return "sender must be a user ID"
    if "state_key" in pdu and not (isinstance(pdu["state_key"], str) and _fits(pdu["state_key"])):
        return "state_key must be a string of at most 255 bytes"
    if not isinstance(pdu.get("content"), dict):
        return "content must be an object"
    if not _is_integer(pdu.get("origin_server_ts"), -_MAX_TIMESTAMP, _MAX_TIMESTAMP):
        return "origin_server_ts must be an integer"
    if not _is_integer(pdu.get("depth"), 0, rules.max_depth_field):
        return f"depth must be an integer from 0 to {rules.max_depth_field}"
    if not isinstance(pdu.get("unsigned", {}), dict):
        return "unsigned must be an object"
    return (
        _room_id_fault(pdu, rules)
        or _event_id_fault(pdu, rules)
        or _hashes_fault(pdu)
        or _references_fault(pdu.get("auth_events"), "auth_events", MAX_ONCE if historic else MAX_AUTH_EVENTS, rules)
        or _references_fault(pdu.get("prev_events"), "prev_events", MAX_ONCE if historic else MAX_PREV_EVENTS, rules)
    )


def _room_id_fault(pdu: dict[str, Any], rules: RoomRules) -> str | None:
    room_id = pdu.get("room_id")
    if not rules.room_id_is_create_event_id:
        if not isinstance(room_id, str) or not is_valid_room_id(room_id) or is_domainless_room_id(room_id):
            return "room_id must be a room ID with a domain"
    elif pdu["type"] == "m.room.create":
        if "room_id" in pdu:
            return "room_id must not be in a create event"
        if pdu.get("state_key") != "":
            return "state_key of a create event must be empty"
    elif not isinstance(room_id, str) or not is_domainless_room_id(room_id):
        return "room_id must be ! and the hash of a create event"
    return None


def _event_id_fault(pdu: dict[str, Any], rules: RoomRules) -> str | None:
    if rules.event_ids_are_hashes:  # a key of that name would survive redaction and go into the hash
        return "event_id must not be in the event" if "event_id" in pdu else None
    event_id = pdu.get("event_id")
    if not isinstance(event_id, str) or parse_event_id(event_id) is None:
        return "event_id must be an event ID with a domain"
    return None


def _hashes_fault(pdu: dict[str, Any]) -> str | None:
    hashes = pdu.get("hashes")
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        return "hashes must be an object with a sha256"
    signatures = pdu.get("signatures")
    if not isinstance(signatures, dict):
        return "signatures must be an object"
    for of_server in signatures.values():
        if not isinstance(of_server, dict) or not all(isinstance(signature, str) for signature in of_server.values()):
            return "signatures must hold an object of strings for each server"
    return None


def _references_fault(references: object, name: str, limit: int, rules: RoomRules) -> str | None:
    """Whether auth_events or prev_events is a short list of event IDs, or of pairs of event ID and hashes."""
    if not isinstance(references, list) or len(references) > limit:
        return f"{name} must be a list of at most {limit} events"
    ids: Sequence[object] = references
    if rules.references_carry_hashes:
        for reference in references:
            if not isinstance(reference, list) or len(reference) != 2 or not isinstance(reference[1], dict):
                return f"{name} must hold pairs of an event ID and its hashes"
        ids = [reference[0] for reference in references]
    if not all(is_valid_event_id(event_id) for event_id in ids):
        return f"{name} must hold event IDs"
    return None
