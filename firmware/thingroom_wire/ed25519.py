"""Ed25519 (RFC 8032, PureEdDSA) for boards, which have no other.

Imports sha512 and ed25519_comb, the base point's tables. What touches a secret is ed25519_viper's, in constant time and
without garbage, where the port can compile it; it is held against known results before it is used. Elsewhere it is
done in integers of any size, whose time depends on the secret; the gateway uses libsodium. Next: ed25519_points, which
verifies.
"""

from binascii import unhexlify

from thingroom_wire.sha512 import sha512

TYPE_CHECKING = False
if TYPE_CHECKING:
    from thingroom_wire.ed25519_points import PortableSecrets


def prepare() -> None:
    """Make ready what signing needs, on a board before other modules have taken and scattered the memory."""
    _secrets()


def public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed (RFC 8032 section 5.1.5)."""
    scalar, _ = _expand(seed)
    return _secrets().multiply_base(scalar)


def sign(seed: bytes, message: bytes, public: "bytes | None" = None) -> bytes:
    """Return the 64-byte signature of `message` (RFC 8032 section 5.1.6).

    `public` saves a multiplication. It must be the public key of `seed`: a signature under another one gives the seed's
    scalar away, so pass only what public_key returned, never what arrived.
    """
    scalar, prefix = _expand(seed)
    secrets = _secrets()
    if public is None:
        public = secrets.multiply_base(scalar)
    nonce = secrets.reduce(sha512(prefix + message))
    commitment = secrets.multiply_base(nonce)
    challenge = secrets.reduce(sha512(commitment + public + message))
    return commitment + secrets.multiply_add(challenge, scalar, nonce)


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` is valid (RFC 8032 section 5.1.7, strict as ed25519_points says). Never raises."""
    from thingroom_wire.ed25519_points import verify as verify_with_points

    return verify_with_points(public, message, signature)


def _expand(seed: bytes) -> "tuple[bytes, bytes]":
    """The secret scalar, 32 bytes little-endian, and the prefix."""
    if len(seed) != 32:
        raise ValueError("a seed has 32 bytes")
    digest = sha512(seed)
    scalar = bytearray(digest[:32])
    scalar[0] &= 248
    scalar[31] = scalar[31] & 63 | 64
    return bytes(scalar), digest[32:]


_chosen: "list[PortableSecrets]" = []


def _secrets() -> "PortableSecrets":
    """The fastest that this interpreter has, chosen at the first use."""
    if not _chosen:
        _chosen.append(_choose())
    return _chosen[0]


def _choose() -> "PortableSecrets":
    try:
        from thingroom_wire.ed25519_comb import TABLES
        from thingroom_wire.ed25519_viper import Secrets
    except (ImportError, SyntaxError, ValueError):
        return _portable()
    native: PortableSecrets = Secrets(TABLES)  # type: ignore[assignment, arg-type]
    return native if _known_results(native) == _KNOWN else _portable()


def _portable() -> "PortableSecrets":
    from thingroom_wire.ed25519_points import PortableSecrets

    return PortableSecrets()


def _known_results(secrets: "PortableSecrets") -> bytes:
    """What all of `secrets` makes of the digest of a word."""
    digest = sha512(b"thingroom")
    one, two = secrets.reduce(digest), digest[:31] + b"\x40"
    return one + secrets.multiply_add(one, two, one) + secrets.multiply_base(two)


_KNOWN = unhexlify(
    "41aab0edf1ba89c986533d8de931e34573379cfd6ca63792536143b5f766590a308a12d2f195c3b933995e0f8f4fe096"
    "5cd2515e9fbe7921d574f86cee739101d200c81ffbb66a93ef3d8782aabc44f35f02a174b5941444cb3a19988dab251d"
)
"""Of the portable code, which the tests hold against it."""
