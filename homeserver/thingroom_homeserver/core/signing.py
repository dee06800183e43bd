"""Ed25519 signatures over canonical JSON, for requests, keys and events, and the base64 Matrix writes them in.

May import PyNaCl and this package. Sources: appendices, "Signing JSON"; Server-Server API, "Signing Events".
Fetching other servers' keys is the federation client's work. Next: build_event.py.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from dataclasses import dataclass, field

from nacl.bindings import crypto_sign, crypto_sign_BYTES, crypto_sign_open, crypto_sign_PUBLICKEYBYTES
from nacl.exceptions import CryptoError
from nacl.signing import SigningKey as NaclSigningKey

from thingroom_homeserver.core.canonical_json import CanonicalJsonError, JsonObject, encode_canonical_json
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.hashing import content_hash
from thingroom_homeserver.core.identifiers import is_valid_user_id, parse_event_id, server_name_of
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.core.room_rules import RoomRules

_KEY_VERSION = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_NOT_SIGNED = frozenset({"signatures", "unsigned"})


def encode_base64(data: bytes) -> str:
    """Unpadded base64 (appendices, "Unpadded Base64")."""
    return b64encode(data).rstrip(b"=").decode("ascii")


def decode_base64(text: str) -> bytes | None:
    """The bytes of base64 in either alphabet, padded or not; None when `text` is not that."""
    try:
        encoded = text.rstrip("=").encode("ascii")
        return b64decode(encoded.translate(_TO_STANDARD) + b"=" * (-len(encoded) % 4), validate=True)
    except (UnicodeEncodeError, Base64Error):
        return None


_TO_STANDARD = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """This server's Ed25519 key. `key_id` is "ed25519:" and a version of letters, digits and underscores."""

    key_id: str
    key: NaclSigningKey = field(repr=False)
    _secret: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        algorithm, _, version = self.key_id.partition(":")
        if algorithm != "ed25519" or _KEY_VERSION.fullmatch(version) is None:
            raise ValueError(f"{self.key_id!r} is not an ed25519 key identifier")
        object.__setattr__(self, "_secret", bytes(self.key) + bytes(self.key.verify_key))

    @classmethod
    def from_seed(cls, key_id: str, seed: bytes) -> SigningKey:
        """The key of a 32-byte seed (for a new key, of `os.urandom`). Raises ValueError when either cannot be one."""
        return cls(key_id, NaclSigningKey(seed))

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes, for storing."""
        return bytes(self.key)

    @property
    def public_key(self) -> bytes:
        """The 32 bytes others verify with."""
        return bytes(self.key.verify_key)

    def sign(self, message: bytes) -> str:
        """The signature of `message`, in unpadded base64."""
        return encode_base64(crypto_sign(message, self._secret)[:crypto_sign_BYTES])


def verify_bytes(message: bytes, signature: bytes, public_key: bytes) -> bool:
    """Whether `signature` is that of `message` by `public_key`; False too when one of them has the wrong length."""
    if len(signature) != crypto_sign_BYTES or len(public_key) != crypto_sign_PUBLICKEYBYTES:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except CryptoError:
        return False
    return True


def sign_json(json_object: JsonObject, server_name: str, key: SigningKey) -> JsonObject:
    """A copy of `json_object` with our signature added to its `signatures`. Raises CanonicalJsonError.

    Floats and large integers are signed as they are: the object may carry events of old room versions.
    """
    signature = key.sign(_signed_bytes(json_object))
    return json_object | {"signatures": _with_signature(json_object.get("signatures"), server_name, key, signature)}


def verify_json(json_object: JsonObject, server_name: str, key_id: str, public_key: bytes) -> bool:
    """Whether `json_object` bears a valid signature by that key of that server ("Checking for a Signature")."""
    signature = signature_on(json_object, server_name, key_id)
    if signature is None or not key_id.startswith("ed25519:"):
        return False
    try:
        signed = _signed_bytes(json_object)
    except CanonicalJsonError:
        return False
    return verify_bytes(signed, signature, public_key)


def signature_on(json_object: JsonObject, server_name: str, key_id: str) -> bytes | None:
    """The decoded signature that the object bears from that server and key, or None."""
    signatures = json_object.get("signatures")
    of_server = signatures.get(server_name) if isinstance(signatures, dict) else None
    signature = of_server.get(key_id) if isinstance(of_server, dict) else None
    return decode_base64(signature) if isinstance(signature, str) else None


def sign_event(pdu: JsonObject, server_name: str, key: SigningKey, rules: RoomRules) -> JsonObject:
    """A copy of `pdu` with its content hash and our signature over the redacted form. Raises CanonicalJsonError.

    Signatures already on it stay, so this also countersigns another server's event.
    """
    hashed = pdu | {"hashes": {"sha256": content_hash(pdu, rules)}}
    return hashed | {"signatures": event_signatures(hashed, server_name, key, rules)}


def event_signatures(pdu: JsonObject, server_name: str, key: SigningKey, rules: RoomRules) -> JsonObject:
    """The `signatures` of a hashed `pdu` with ours added."""
    redacted = redact(pdu, rules)
    return _with_signature(pdu.get("signatures"), server_name, key, key.sign(_signed_bytes(redacted)))


def verify_event(pdu: JsonObject, server_name: str, key_id: str, public_key: bytes, rules: RoomRules) -> bool:
    """Whether the event bears a valid signature of that server and key: over its redacted form."""
    return verify_json(redact(pdu, rules), server_name, key_id, public_key)


def required_signing_servers(event: Event, rules: RoomRules) -> frozenset[str]:
    """The servers whose valid signature an event must bear to be accepted.

    The sender's, unless it is an invite that stems from a third-party invite; in room versions 1 and 2 also the one in
    the event ID; in a restricted join also that of the member who vouched for it (Server-Server API, "Validating hashes
    and signatures on received events"; rule 5.2 of room version 12).
    """
    servers = set()
    membership = event.content.get("membership") if event.type == "m.room.member" else None
    if not (membership == "invite" and "third_party_invite" in event.content):
        servers.add(server_name_of(event.sender))
    if not rules.event_ids_are_hashes and (parsed := parse_event_id(event.event_id)) is not None:
        servers.add(parsed[1])
    if rules.restricted_join and membership == "join":
        voucher = event.content.get("join_authorised_via_users_server")
        if is_valid_user_id(voucher):
            servers.add(server_name_of(str(voucher)))
    return frozenset(servers)


def _signed_bytes(json_object: JsonObject) -> bytes:
    covered = {key: value for key, value in json_object.items() if key not in _NOT_SIGNED}
    return encode_canonical_json(covered, strict=False)


def _with_signature(signatures: object, server_name: str, key: SigningKey, signature: str) -> JsonObject:
    existing = dict(signatures) if isinstance(signatures, dict) else {}
    of_server = existing.get(server_name)
    existing[server_name] = (of_server if isinstance(of_server, dict) else {}) | {key.key_id: signature}
    return existing
