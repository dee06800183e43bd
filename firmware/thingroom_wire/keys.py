"""Keys and names: COSE_Key, key ids, base names and every secret that is derived from another.

Imports cbor, errors and hkdf. The labels, info strings and lengths are those of docs/wire_format.md, "Keys and names"
and "Pairing". Next: cose, which uses the keys.
"""

import hashlib
from binascii import hexlify
from collections import namedtuple

from thingroom_wire.cbor import decode, encode
from thingroom_wire.errors import WireError
from thingroom_wire.hkdf import hkdf_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

X25519 = 4
ED25519 = 6
"""COSE elliptic curves (RFC 9053 table 18)."""

KEY_ID_LENGTH = 8

_KEY_TYPE, _CURVE, _X, _PRIVATE = 1, -1, -2, -4
_OKP = 1

PairingKeys = namedtuple("PairingKeys", ("device", "gateway", "broker_password"))
"""What both sides derive from a pairing code: two 32-byte MAC keys and the password of the broker user `pairing`."""


def cose_key_map(curve: int, x: bytes) -> "dict[int, Any]":
    """Return the COSE_Key map {kty: OKP, crv: curve, x} (RFC 9053 section 7.2); x is 32 bytes."""
    if len(x) != 32:
        raise ValueError("a public key has 32 bytes")
    return {_KEY_TYPE: _OKP, _CURVE: curve, _X: bytes(x)}


def cose_key_ed25519(x: bytes) -> bytes:
    """Return the deterministic encoding of an Ed25519 COSE_Key."""
    return encode(cose_key_map(ED25519, x))


def cose_key_x25519(x: bytes) -> bytes:
    """Return the deterministic encoding of an X25519 COSE_Key."""
    return encode(cose_key_map(X25519, x))


def parse_cose_key(key: "Any") -> "tuple[int, bytes]":
    """Return (curve, x) of a public OKP COSE_Key, given as a decoded map or as bytes; other labels are ignored.

    WireError: "bad_key_type", "bad_curve", "bad_public_key", or "private_key" where the sender gave its secret away.
    """
    if type(key) is bytes:
        key = decode(key)
    if type(key) is not dict or type(key.get(_KEY_TYPE)) is not int or key[_KEY_TYPE] != _OKP:
        raise WireError("bad_key_type", "The key is not a COSE_Key of type OKP.")
    if _PRIVATE in key:
        raise WireError("private_key", "The key carries its private part.")
    curve = key.get(_CURVE)
    if type(curve) is not int or (curve != ED25519 and curve != X25519):
        raise WireError("bad_curve", "The key's curve is neither Ed25519 nor X25519.")
    x = key.get(_X)
    if type(x) is not bytes or len(x) != 32:
        raise WireError("bad_public_key", "The key's x is not a string of 32 bytes.")
    return curve, x


def parse_key_on(curve: int, key: "Any") -> bytes:
    """Return x of a COSE_Key that must be on `curve`; WireError as parse_cose_key, "bad_curve" for the other curve."""
    found, x = parse_cose_key(key)
    if found != curve:
        raise WireError("bad_curve", "The key is on the other curve.")
    return x


def thumbprint(ed25519_public: bytes) -> bytes:
    """Return the 32-byte COSE Key Thumbprint (RFC 9679 section 3, SHA-256)."""
    return hashlib.sha256(cose_key_ed25519(ed25519_public)).digest()


def key_id(ed25519_public: bytes) -> bytes:
    """Return the kid: the first 8 bytes of the thumbprint."""
    return thumbprint(ed25519_public)[:KEY_ID_LENGTH]


def key_id_text(kid: bytes) -> str:
    """Return the kid as 16 lower-case hex digits, as topics and user names carry it."""
    return hexlify(kid).decode()


def base_name(eui64: bytes) -> str:
    """Return the SenML base name of a device: its DEV URN (RFC 9039 section 4.1) and the "_" before a component."""
    if len(eui64) != 8:
        raise ValueError("an EUI-64 has 8 bytes")
    return "urn:dev:mac:" + hexlify(eui64).decode() + "_"


def eui64_from_mac(mac: bytes) -> bytes:
    """Return the EUI-64 of a 6-byte EUI-48: ff fe goes between its halves (RFC 9039 section 4.1)."""
    if len(mac) != 6:
        raise ValueError("an EUI-48 has 6 bytes")
    return mac[:3] + b"\xff\xfe" + mac[3:]


def eui64_from_key_id(kid: bytes) -> bytes:
    """Return the EUI-64 of a board without a MAC: its kid, marked as locally administered and individual."""
    if len(kid) != KEY_ID_LENGTH:
        raise ValueError("a kid has 8 bytes")
    return bytes(((kid[0] | 0x02) & 0xFE,)) + kid[1:]


def downlink_key(shared_secret: bytes, device_kid: bytes, gateway_kid: bytes) -> bytes:
    """Return the 32-byte key of the gateway's answers to one device, from their X25519 shared secret."""
    if len(device_kid) != KEY_ID_LENGTH or len(gateway_kid) != KEY_ID_LENGTH:
        raise ValueError("a kid has 8 bytes")
    return hkdf_sha256(shared_secret, None, b"thingroom downlink v1" + device_kid + gateway_kid, 32)


def broker_password(key: bytes) -> str:
    """Return the device's broker password, 32 hex digits, from its downlink key."""
    return hexlify(hkdf_sha256(key, None, b"thingroom broker v1", 16)).decode()


def pairing_keys(code: bytes) -> "Any":
    """Return the PairingKeys of a 16-byte pairing code."""
    if len(code) != 16:
        raise ValueError("a pairing code has 16 bytes")
    return PairingKeys(
        hkdf_sha256(code, None, b"thingroom pairing v1 device", 32),
        hkdf_sha256(code, None, b"thingroom pairing v1 gateway", 32),
        hexlify(hkdf_sha256(code, None, b"thingroom pairing v1 broker", 16)).decode(),
    )
