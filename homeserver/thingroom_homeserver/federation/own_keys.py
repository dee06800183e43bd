"""This server's keys as others ask for them: the document of /_matrix/key/v2/server, and the keys for its own events.

May import core. Made in service.py out of the key files (signing_key_file.py). Source: Server-Server API,
"Publishing Keys".
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json
from thingroom_homeserver.signing_key_file import OldKey

VALID_MS = 24 * 60 * 60 * 1000
"""How long others may keep the document before they ask again."""


class OwnKeys:
    """The key that signs, and those that did."""

    def __init__(self, server_name: str, current: SigningKey, old: Sequence[OldKey], clock: Clock) -> None:
        self.server_name = server_name
        self.current = current
        self.old = tuple(old)
        self._clock = clock

    def document(self) -> JsonObject:
        """What /_matrix/key/v2/server answers, signed."""
        unsigned: JsonObject = {
            "server_name": self.server_name,
            "valid_until_ts": self._clock.now_ms() + VALID_MS,
            "verify_keys": {self.current.key_id: {"key": encode_base64(self.current.public_key)}},
            "old_verify_keys": {
                old.key_id: {"key": encode_base64(old.public_key), "expired_ts": old.expired_ts} for old in self.old
            },
        }
        return self.signed(unsigned)

    def signed(self, value: JsonObject) -> JsonObject:
        """A copy of `value` with this server's signature added."""
        return sign_json(value, self.server_name, self.current)

    def public_key(self, key_id: str, valid_at_ms: int | None) -> bytes | None:
        """The public key of that id, if it was in use at `valid_at_ms` (None: at whatever time)."""
        if key_id == self.current.key_id:
            return self.current.public_key
        for old in self.old:
            if old.key_id == key_id and (valid_at_ms is None or valid_at_ms <= old.expired_ts):
                return old.public_key
        return None
