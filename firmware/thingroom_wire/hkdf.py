"""HMAC-SHA-256 (RFC 2104) and HKDF-SHA-256 (RFC 5869) on the board's own SHA-256. Imports nothing of ours.

CPython has the first in its standard library, a board has not. Next: keys, which derives with it.
"""

import hashlib

_BLOCK = 64
_LENGTH = 32

try:
    from hmac import compare_digest as _compare
    from hmac import digest as _digest
except ImportError:
    _compare = None  # type: ignore[assignment]
    _digest = None  # type: ignore[assignment]


def constant_time_equal(a: bytes, b: bytes) -> bool:
    """Whether two byte strings are equal, in a time that depends on their lengths only."""
    if _compare is not None:
        return _compare(a, b)
    if len(a) != len(b):
        return False
    difference = 0
    for index in range(len(a)):
        difference |= a[index] ^ b[index]
    return difference == 0


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32 bytes of HMAC-SHA-256."""
    if _digest is not None:
        return _digest(key, message, "sha256")
    if len(key) > _BLOCK:
        key = hashlib.sha256(key).digest()
    key = key + bytes(_BLOCK - len(key))
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in key))
    inner.update(message)
    outer = hashlib.sha256(bytes(byte ^ 0x5C for byte in key))
    outer.update(inner.digest())
    return outer.digest()


def hkdf_sha256(ikm: bytes, salt: "bytes | None", info: bytes, length: int) -> bytes:
    """Extract and expand: `length` bytes (1 to 8160) of key material; no salt is None or b"" (RFC 5869 section 2)."""
    if not 0 < length <= 255 * _LENGTH:
        raise ValueError("HKDF gives 1 to 8160 bytes")
    key = hmac_sha256(salt or bytes(_LENGTH), ikm)
    block = b""
    output = b""
    counter = 1
    while len(output) < length:
        block = hmac_sha256(key, block + info + bytes((counter,)))
        output += block
        counter += 1
    return output[:length]
