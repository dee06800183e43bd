"""COSE_Sign1 and COSE_Mac0 (RFC 9052): structure, what is signed, and the MAC.

Imports cbor, errors and hkdf. Signatures are not checked here: the caller verifies `sig_structure` with the Ed25519 it
has. What arrived is what is verified; the protected header is kept as its bytes. Next: envelope, downlink, hello.
"""

from collections import namedtuple

from thingroom_wire.cbor import Tag, decode, encode, encode_head
from thingroom_wire.errors import WireError
from thingroom_wire.hkdf import constant_time_equal, hmac_sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

TAG_MAC0 = 17
TAG_SIGN1 = 18

# Header parameters (RFC 9052 table 3)
ALGORITHM = 1
CRITICAL = 2
CONTENT_TYPE = 3
KEY_ID = 4

# Algorithms (RFC 9864, RFC 9053)
ALGORITHM_ED25519 = -19
ALGORITHM_EDDSA = -8
ALGORITHM_HMAC_256 = 5

CONTENT_CBOR = 60
"""application/cbor as a CoAP Content-Format."""

Sign1 = namedtuple("Sign1", ("protected_bytes", "protected", "payload", "signature"))
"""protected_bytes: the bytes as they arrived; protected: dict; payload, signature: bytes."""

Mac0 = namedtuple("Mac0", ("protected_bytes", "protected", "payload", "tag"))
"""As Sign1, with the authentication tag in place of the signature."""

_BYTES, _ARRAY, _TAG = 2, 4, 6
_EMPTY_MAP = b"\xa0"


def sig_structure(protected_bytes: bytes, payload: bytes) -> bytes:
    """Return the bytes that a COSE_Sign1 signature covers (RFC 9052 section 4.4), with empty external_aad."""
    return b"\x84\x6aSignature1" + _structure(protected_bytes, payload)


def mac_structure(protected_bytes: bytes, payload: bytes) -> bytes:
    """Return the bytes that a COSE_Mac0 tag covers (RFC 9052 section 6.3), with empty external_aad."""
    return b"\x84\x64MAC0" + _structure(protected_bytes, payload)


def _structure(protected_bytes: bytes, payload: bytes) -> bytes:
    if protected_bytes == _EMPTY_MAP:
        protected_bytes = b""
    return _byte_string(protected_bytes) + b"\x40" + _byte_string(payload)


def _byte_string(content: bytes) -> bytes:
    return encode_head(_BYTES, len(content)) + content


def encode_sign1(protected_bytes: bytes, payload: bytes, signature: bytes) -> bytes:
    """Return a tagged COSE_Sign1 with an empty unprotected header."""
    return _message(TAG_SIGN1, protected_bytes, payload, signature)


def encode_mac0(key: bytes, protected: "dict[int, Any]", payload: bytes) -> bytes:
    """Return a tagged COSE_Mac0 under `key` with HMAC 256/256, which `protected` must name as its algorithm."""
    if protected.get(ALGORITHM) != ALGORITHM_HMAC_256:
        raise ValueError("the protected header does not name HMAC 256/256")
    protected_bytes = encode(protected)
    tag = hmac_sha256(key, mac_structure(protected_bytes, payload))
    return _message(TAG_MAC0, protected_bytes, payload, tag)


def _message(tag: int, protected_bytes: bytes, payload: bytes, proof: bytes) -> bytes:
    return (
        encode_head(_TAG, tag)
        + encode_head(_ARRAY, 4)
        + _byte_string(protected_bytes)
        + _EMPTY_MAP
        + _byte_string(payload)
        + _byte_string(proof)
    )


def parse_sign1(data: bytes) -> "Any":
    """Return the Sign1 that `data` is (tag 18 required); the signature is not checked. WireError otherwise."""
    return Sign1(*_parse(data, TAG_SIGN1))


def parse_mac0(data: bytes) -> "Any":
    """Return the Mac0 that `data` is (tag 17 required); the tag is not checked. WireError otherwise."""
    return Mac0(*_parse(data, TAG_MAC0))


def verify_mac0(mac0: "Any", key: bytes) -> bool:
    """Whether the algorithm is HMAC 256/256 and the tag is right under `key`."""
    algorithm = mac0.protected.get(ALGORITHM)
    if type(algorithm) is not int or algorithm != ALGORITHM_HMAC_256:
        return False
    expected = hmac_sha256(key, mac_structure(mac0.protected_bytes, mac0.payload))
    return constant_time_equal(expected, mac0.tag)


def check_critical(protected: "dict[Any, Any]", understood: "tuple[int, ...]") -> None:
    """Raise WireError where the header demands the understanding of a label outside `understood` (section 3.1)."""
    if CRITICAL not in protected:
        return
    labels = protected[CRITICAL]
    if type(labels) is not list or not labels:
        raise WireError("bad_critical", "The list of critical header parameters is not an array with content.")
    for label in labels:
        if type(label) is not int and type(label) is not str:
            raise WireError("bad_critical", "A critical header parameter is neither an integer nor text.")
        if label not in protected:
            raise WireError("bad_critical", "A critical header parameter is not in the protected header.")
        if label not in understood:
            raise WireError("unknown_critical", "A critical header parameter is unknown to this reader.")


def _parse(data: bytes, tag: int) -> "tuple[bytes, dict[Any, Any], bytes, bytes]":
    message = decode(data)
    if type(message) is not Tag or message.number != tag:
        raise WireError("wrong_tag", "The message does not carry the COSE tag that belongs here.")
    parts = message.value
    if type(parts) is not list or len(parts) != 4:
        raise WireError("bad_structure", "The message is not an array of four.")
    protected_bytes, unprotected, payload, proof = parts
    if type(protected_bytes) is not bytes or type(unprotected) is not dict or type(proof) is not bytes:
        raise WireError("bad_structure", "A part of the message has the wrong type.")
    if payload is None:
        raise WireError("detached_payload", "The payload is not in the message.")
    if type(payload) is not bytes:
        raise WireError("bad_structure", "The payload is not a byte string.")
    protected = decode(protected_bytes) if protected_bytes else {}
    if type(protected) is not dict:
        raise WireError("bad_header", "The protected header is not a map.")
    _check_labels(protected, unprotected)
    return protected_bytes, protected, payload, proof


def _check_labels(protected: "dict[Any, Any]", unprotected: "dict[Any, Any]") -> None:
    for label in unprotected:
        if label in protected:
            raise WireError("duplicate_label", "A header parameter is both protected and unprotected.")
    for header in (protected, unprotected):
        for label in header:
            if type(label) is bytes:
                raise WireError("bad_header", "A header label is a byte string.")
    if CRITICAL in unprotected:
        raise WireError("bad_critical", "The list of critical header parameters is not protected.")
