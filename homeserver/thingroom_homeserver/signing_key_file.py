"""The server's signing keys on disk: the one that signs, made at the first start, and those that did before.

`signing.key` is one line "ed25519 a_AbCd <unpadded base64 seed>", the one Synapse writes, so a key can be moved between
the two. `old_signing_keys` has a line "ed25519 a_AbCd <unpadded base64 public key> <expired, ms since 1970>" for each
key that was replaced: the secret half is gone. May import core and thingroom_common.
"""

from __future__ import annotations

import os
import secrets
import string
from dataclasses import dataclass
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.core.signing import SigningKey, decode_base64, encode_base64

FILE_NAME = "signing.key"
OLD_FILE_NAME = "old_signing_keys"
_PUBLIC_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class OldKey:
    """The public half of a key that signs nothing any more. `expired_ts` is in milliseconds since 1970."""

    key_id: str
    public_key: bytes
    expired_ts: int


def load_or_make(directory: Path) -> SigningKey:
    """The key in `directory`, made there (mode 0600) if there is none. Raises ConfigError, OSError."""
    path = directory / FILE_NAME
    try:
        return _parse(path)
    except FileNotFoundError:
        key = _new_key()
        _write(path, _line(key), replace=False)
        return key


def load_old(directory: Path) -> tuple[OldKey, ...]:
    """The keys that signed before. Raises ConfigError, OSError."""
    path = directory / OLD_FILE_NAME
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except FileNotFoundError:
        return ()
    current = load_or_make(directory).key_id
    keys = [_parse_old(path, line) for line in lines if line.strip()]
    # A rotation that was cut short has written down the old key, and not yet replaced it.
    return tuple(key for key in keys if key.key_id != current)


def rotate(directory: Path, now_ms: int) -> tuple[OldKey, SigningKey]:
    """Replace the signing key: the one that signs no more, and the new one. Raises ConfigError, OSError.

    The server must not run: what it signed after `now_ms` with the old key would be refused by others.
    """
    old = load_or_make(directory)
    expired = OldKey(old.key_id, old.public_key, now_ms)
    known = {key.key_id: key for key in (*load_old(directory), expired)}
    lines = [f"ed25519 {_version(key)} {encode_base64(key.public_key)} {key.expired_ts}\n" for key in known.values()]
    _write(directory / OLD_FILE_NAME, "".join(lines), replace=True)
    new = _new_key()
    while new.key_id in known:
        new = _new_key()
    _write(directory / FILE_NAME, _line(new), replace=True)
    return expired, new


def _version(key: OldKey | SigningKey) -> str:
    return key.key_id.partition(":")[2]


def _line(key: SigningKey) -> str:
    return f"ed25519 {_version(key)} {encode_base64(key.seed)}\n"


def _parse(path: Path) -> SigningKey:
    words = path.read_text(encoding="ascii", errors="replace").split()
    seed = decode_base64(words[2]) if len(words) == 3 and words[0] == "ed25519" else None
    try:
        return SigningKey.from_seed(f"ed25519:{words[1]}", seed or b"")
    except (ValueError, IndexError, TypeError):
        raise ConfigError(f"{path} does not hold a signing key; put back the right one or move it away.") from None


def _parse_old(path: Path, line: str) -> OldKey:
    words = line.split()
    public_key = decode_base64(words[2]) if len(words) == 4 and words[0] == "ed25519" else None
    if public_key is None or len(public_key) != _PUBLIC_KEY_BYTES or not words[3].isdigit():
        raise ConfigError(f"{path} does not hold old signing keys; put back the right file or move it away.")
    return OldKey(f"ed25519:{words[1]}", public_key, int(words[3]))


def _new_key() -> SigningKey:
    version = "a_" + "".join(secrets.choice(string.ascii_letters) for _ in range(4))
    return SigningKey.from_seed(f"ed25519:{version}", os.urandom(32))


def _write(path: Path, text: str, *, replace: bool) -> None:
    """Write `text` to disk (mode 0600), over what is there only if `replace`, and then in one step."""
    target = path.with_name(path.name + ".new") if replace else path
    if replace:
        target.unlink(missing_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    if replace:
        target.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
