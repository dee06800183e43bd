"""X25519 (RFC 7748): the key agreement of enrolment, used once per pairing. Imports ed25519_points, errors.

Montgomery's ladder in integers of any size; not constant-time, as ed25519_points. Next: keys.downlink_key.
"""

from thingroom_wire.ed25519_points import P, invert
from thingroom_wire.errors import WireError

_A24 = 121665
_BASE_POINT = b"\x09" + bytes(31)


def public_key(private: bytes) -> bytes:
    """Return the 32-byte public key of 32 random bytes."""
    return _multiply(private, _BASE_POINT)


def shared_secret(private: bytes, peer: bytes) -> bytes:
    """Return the 32-byte shared secret; WireError "small_order_key" where the peer's key makes it zero (section 6.1),
    "bad_public_key" where the peer's key does not have 32 bytes."""
    if len(peer) != 32:
        raise WireError("bad_public_key", "An X25519 public key has 32 bytes.")
    secret = _multiply(private, peer)
    if secret == bytes(32):
        raise WireError("small_order_key", "The peer's X25519 key has small order.")
    return secret


def _multiply(private: bytes, u: bytes) -> bytes:
    """The X25519 function of section 5, with the variable names of its pseudocode."""
    if len(private) != 32:
        raise ValueError("an X25519 private key has 32 bytes")
    k = int.from_bytes(private, "little") & ((1 << 255) - 8) | 1 << 254
    x_1 = (int.from_bytes(u, "little") & ((1 << 255) - 1)) % P
    x_2, z_2, x_3, z_3 = 1, 0, x_1, 1
    swap = 0
    for t in range(254, -1, -1):
        k_t = k >> t & 1
        if swap != k_t:
            x_2, x_3, z_2, z_3 = x_3, x_2, z_3, z_2
        swap = k_t
        a, b = x_2 + z_2, x_2 - z_2
        c, d = x_3 + z_3, x_3 - z_3
        da, cb = d * a % P, c * b % P
        aa, bb = a * a % P, b * b % P
        e = aa - bb
        x_3 = (da + cb) * (da + cb) % P
        z_3 = x_1 * (da - cb) % P * (da - cb) % P
        x_2 = aa * bb % P
        z_2 = e * (aa + _A24 * e) % P
    if swap:
        x_2, z_2 = x_3, z_3
    return (x_2 * invert(z_2) % P).to_bytes(32, "little")
