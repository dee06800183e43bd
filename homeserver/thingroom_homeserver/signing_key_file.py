"""The server's signing key on disk: made at the first start, one line "ed25519 a_AbCd <unpadded base64 seed>".

May import core and thingroom_common. The line is the one Synapse writes, so a key can be moved between the two.
"""

from __future__ import annotations

import os
import secrets
import string
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.core.signing import SigningKey, decode_base64, encode_base64

FILE_NAME = "signing.key"


def load_or_make(directory: Path) -> SigningKey:
    """The key in `directory`, made there (mode 0600) if there is none. Raises ConfigError, OSError."""
    path = directory / FILE_NAME
    try:
        return _parse(path)
    except FileNotFoundError:
        return _make(path)


def _parse(path: Path) -> SigningKey:
    words = path.read_text(encoding="ascii", errors="replace").split()
    seed = decode_base64(words[2]) if len(words) == 3 and words[0] == "ed25519" else None
    try:
        return SigningKey.from_seed(f"ed25519:{words[1]}", seed or b"")
    except (ValueError, IndexError, TypeError):
        raise ConfigError(f"{path} does not hold a signing key; put back the right one or move it away.") from None


def _make(path: Path) -> SigningKey:
    version = "a_" + "".join(secrets.choice(string.ascii_letters) for _ in range(4))
    seed = os.urandom(32)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(f"ed25519 {version} {encode_base64(seed)}\n")
        file.flush()
        os.fsync(file.fileno())
    return SigningKey.from_seed(f"ed25519:{version}", seed)
