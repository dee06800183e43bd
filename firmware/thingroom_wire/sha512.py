"""SHA-512 (FIPS 180-4), which MicroPython's hashlib lacks: hashlib's on CPython, sha512_viper's on a board that can
compile it, else sha512_portable's. Imports those. Next: ed25519, the one user.
"""

import hashlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def _choose() -> "Callable[[bytes], bytes]":
    """The fastest SHA-512 that this interpreter has, held against the portable code if it is our own."""
    if hasattr(hashlib, "sha512"):
        return lambda data: hashlib.sha512(data).digest()
    from thingroom_wire.sha512_portable import INITIAL, ROUND, sha512_portable

    try:
        from thingroom_wire.sha512_viper import Sha512
    except (ImportError, SyntaxError, ValueError):
        return sha512_portable
    native = Sha512(INITIAL, ROUND).hash
    return native if native(_SAMPLE) == sha512_portable(_SAMPLE) else sha512_portable


_SAMPLE = b"thingroom"

sha512 = _choose()
"""Return the 64 bytes of SHA-512 of the bytes given."""
