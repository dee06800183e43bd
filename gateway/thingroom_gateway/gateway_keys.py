"""The gateway's own keys, made at first start and kept in files that only the owner can read.

May import thingroom_wire and PyNaCl. enrolment.py agrees on downlink keys with them; pairing.py hands out their public
halves, which devices pin.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import nacl.bindings
import nacl.exceptions
from nacl.signing import SigningKey

from thingroom_wire.keys import downlink_key, key_id


@dataclass(frozen=True, slots=True)
class GatewayKeys:
    """`signing_seed` is an Ed25519 seed, `agreement_private` an X25519 scalar; 32 bytes each, like their publics."""

    signing_seed: bytes
    signing_public: bytes
    agreement_private: bytes
    agreement_public: bytes
    kid: bytes

    @classmethod
    def from_private(cls, signing_seed: bytes, agreement_private: bytes) -> GatewayKeys:
        signing_public = bytes(SigningKey(signing_seed).verify_key)
        agreement_public = nacl.bindings.crypto_scalarmult_base(agreement_private)
        return cls(signing_seed, signing_public, agreement_private, agreement_public, key_id(signing_public))

    def downlink_key(self, device_kid: bytes, device_agreement_key: bytes) -> bytes | None:
        """The 32-byte key for answers to a device (docs/wire_format.md); None if its agreement key is degenerate."""
        try:
            shared = nacl.bindings.crypto_scalarmult(self.agreement_private, device_agreement_key)
        except (nacl.exceptions.RuntimeError, nacl.exceptions.CryptoError):
            return None
        if shared == bytes(32):
            return None
        key: bytes = downlink_key(shared, device_kid, self.kid)
        return key


def load_or_make_keys(directory: Path) -> GatewayKeys:
    """The keys in `directory`, made where they are missing. Raises OSError, ValueError if a file is damaged."""
    return GatewayKeys.from_private(
        _load_or_make_bytes(directory / "gateway_ed25519.key"), _load_or_make_bytes(directory / "gateway_x25519.key")
    )


def load_or_make_password(path: Path) -> str:
    """A password in a file of its own: 128 random bits in hex."""
    if not path.exists():
        write_private(path, (secrets.token_hex(16) + "\n").encode())
    return path.read_text(encoding="ascii").strip()


def _load_or_make_bytes(path: Path) -> bytes:
    if not path.exists():
        write_private(path, (secrets.token_hex(32) + "\n").encode())
    key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    if len(key) != 32:
        raise ValueError(f"{path} does not hold a 32-byte key in hex")
    return key


def write_private(path: Path, data: bytes) -> None:
    """Write `path` as a whole or not at all, readable by the owner only, on disk when this returns."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
