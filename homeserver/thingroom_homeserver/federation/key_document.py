"""Other servers' key documents: bytes become keys here, once their signature is checked.

May import core and the storage's key types. Pure. Source: Server-Server API, "Publishing Keys" and "Signing key
validity period" of the room version pages. Next: server_keys.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from thingroom_homeserver.core.canonical_json import MAX_INTEGER, JsonObject
from thingroom_homeserver.core.signing import decode_base64, verify_json
from thingroom_homeserver.storage.server_keys import ServerKey

BELIEVED_MS = 7 * 24 * 3600 * 1000
"""A key is not believed for longer from when it was heard, whatever its server says."""
MAX_DOCUMENT_BYTES = 262_144
MAX_KEYS = 500
_PUBLIC_KEY_BYTES = 32
_KEY_ID = re.compile(r"ed25519:[A-Za-z0-9_-]{1,200}", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyDocument:
    """What a server says of its keys. `valid_until_ts` is in ms."""

    server_name: str
    valid_until_ts: int
    keys: tuple[ServerKey, ...]
    source: JsonObject


def parse_key_document(value: JsonObject, server_name: str, now_ms: int) -> KeyDocument | None:
    """The document, if it is that server's, well formed, and signed by one of the keys that it calls current."""
    valid_until = value.get("valid_until_ts")
    if value.get("server_name") != server_name or type(valid_until) is not int:
        return None
    believed_until = max(0, min(valid_until, now_ms + BELIEVED_MS))
    current = _current_keys(value.get("verify_keys"), believed_until)
    old = _old_keys(value.get("old_verify_keys", {}))
    if current is None or old is None:
        return None
    if not any(verify_json(value, server_name, key.key_id, key.public_key) for key in current):
        return None
    named = {key.key_id for key in current}
    keys = (*current, *(key for key in old if key.key_id not in named))
    return KeyDocument(server_name, believed_until, keys, value)


def is_key_id(text: str) -> bool:
    """Whether `text` can be the id of an Ed25519 key. Longer ones and those of other algorithms are not looked at."""
    return _KEY_ID.fullmatch(text) is not None


def _current_keys(value: object, believed_until: int) -> list[ServerKey] | None:
    """None for what has not the right form; keys of algorithms that are not known are left out."""
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        return None
    keys = []
    for key_id, fields in value.items():
        public_key = _public_key(key_id, fields)
        if public_key is not None:
            keys.append(ServerKey(key_id, public_key, believed_until, is_old=False))
    return keys


def _old_keys(value: object) -> list[ServerKey] | None:
    if not isinstance(value, dict) or len(value) > MAX_KEYS:
        return None
    keys = []
    for key_id, fields in value.items():
        public_key = _public_key(key_id, fields)
        if public_key is not None and type(expired := fields.get("expired_ts")) is int and 0 <= expired <= MAX_INTEGER:
            keys.append(ServerKey(key_id, public_key, expired, is_old=True))
    return keys


def _public_key(key_id: str, fields: object) -> bytes | None:
    text = fields.get("key") if isinstance(fields, dict) else None
    if not isinstance(text, str) or not is_key_id(key_id):
        return None
    key = decode_base64(text)
    return key if key is not None and len(key) == _PUBLIC_KEY_BYTES else None
