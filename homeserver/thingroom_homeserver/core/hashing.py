"""Content hashes, reference hashes and the event IDs made of them.

Imports canonical_json, redaction, room_rules and base64. Source: Server-Server API, "Signing Events". Next: signing.py.
"""

from __future__ import annotations

import hashlib
from binascii import b2a_base64
from typing import Final

from thingroom_homeserver.core.canonical_json import JsonObject, encode_canonical_json, encode_checked
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.core.room_rules import RoomRules

_NOT_IN_CONTENT_HASH: Final = frozenset({"unsigned", "signatures", "hashes"})
_URL_SAFE: Final = str.maketrans("+/", "-_")


def content_hash(pdu: JsonObject, rules: RoomRules, *, checked: bool = False) -> str:
    """The SHA-256 over the whole event but `unsigned`, `signatures` and `hashes`, in unpadded base64.

    `checked`: its values are known to be canonical. Raises CanonicalJsonError when the event cannot be written under
    `rules`.
    """
    covered = {key: value for key, value in pdu.items() if key not in _NOT_IN_CONTENT_HASH}
    data = encode_checked(covered) if checked else encode_canonical_json(covered, strict=rules.strict_canonical_json)
    return _sha256_base64(data)


def content_hash_matches(pdu: JsonObject, rules: RoomRules) -> bool:
    """Whether `hashes.sha256` of a received event is its content hash. If not, process the redacted event instead."""
    hashes = pdu.get("hashes")
    expected = hashes.get("sha256") if isinstance(hashes, dict) else None
    return isinstance(expected, str) and expected.rstrip("=") == content_hash(pdu, rules)


def reference_hash(pdu: JsonObject, rules: RoomRules) -> str:
    """The SHA-256 over the redacted event without `signatures`, in unpadded base64 (from v4 on the URL-safe one)."""
    data = encode_canonical_json(signed_part(pdu, rules), strict=rules.strict_canonical_json)
    return reference_hash_of_signed(data, rules)


def signed_part(pdu: JsonObject, rules: RoomRules) -> JsonObject:
    """What the reference hash and the signatures cover alike: the redacted event without `signatures`."""
    return {key: value for key, value in redact(pdu, rules).items() if key != "signatures"}


def reference_hash_of_signed(data: bytes, rules: RoomRules) -> str:
    """As `reference_hash`, of the canonical JSON of what it covers."""
    digest = _sha256_base64(data)
    return digest.translate(_URL_SAFE) if rules.event_id_format == "url_safe_base64_hash" else digest


def event_id_of(pdu: JsonObject, rules: RoomRules) -> str:
    """The event's ID: `$` and its reference hash, or in room versions 1 and 2 what its `event_id` says."""
    if not rules.event_ids_are_hashes:
        return str(pdu["event_id"])
    return "$" + reference_hash(pdu, rules)


def _sha256_base64(data: bytes) -> str:
    return b2a_base64(hashlib.sha256(data).digest(), newline=False).rstrip(b"=").decode("ascii")
