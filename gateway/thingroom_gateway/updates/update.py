"""An update of one device: its values, the manifest that announces it, and what people are told. Pure.

May import thingroom_wire, PyNaCl. queue.py keeps updates; storage/updates.py stores them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from nacl.signing import SigningKey

from thingroom_wire import cose, manifest

# staged: waits until the first of its campaign is done; trial: the device has all of it and tries it.
State = Literal["staged", "waiting", "fetching", "trial", "done", "failed", "cancelled"]
OPEN: Final[tuple[State, ...]] = ("staged", "waiting", "fetching", "trial")


@dataclass(frozen=True, slots=True)
class Update:
    """One update of one device. `before` is the version that ran when it was asked for; times in Unix ms.

    `digest`, `size` and `architecture` are None, 0 and empty until the device's architecture is known.
    """

    id: int
    device: int
    counter: int
    version: str
    folder: str
    digest: bytes | None
    size: int
    number: int
    architecture: str
    state: State
    reason: str
    campaign: int
    before: str
    requested_by: str
    requested_at: int


def signed_manifest(update: Update, device_kid: bytes, patience: int, key: SigningKey, gateway_kid: bytes) -> bytes:
    """The COSE_Sign1 for the device `device_kid`; `patience` in seconds."""
    assert update.digest is not None
    wire = manifest.Manifest(
        device_kid,
        update.counter,
        update.number,
        update.version,
        update.architecture,
        manifest.FILES,
        update.size,
        update.digest,
        patience,
    )
    protected, payload = manifest.manifest_parts(gateway_kid, wire)
    message: bytes = cose.encode_sign1(protected, payload, key.sign(cose.sig_structure(protected, payload)).signature)
    return message


_REASONS: Final = {
    "no_slots": "this board cannot be updated this way; flash it again with: thingroom flash",
    "old_version": "it has a later version, and versions do not go back",
    "wrong_architecture": "it is another kind of board than it was",
    "no_space": "its storage is too full",
    "storage_failed": "its storage fails",
    "bad_digest": "what arrived was not what was sent",
    "bad_bundle": "what arrived was no firmware",
    "did_not_start": "the new version did not start",
    "no_healthy_reading": "no healthy reading came from the new version",
    "cancelled": "it was cancelled",
    "canary_failed": "the first device of this update failed",
    "revoked": "the device is revoked",
    "not_built": "the firmware does not compile",
}


def sentence(update: Update) -> str:
    """Why an update failed; empty if it did not."""
    if update.state != "failed":
        return ""
    return _REASONS.get(update.reason, update.reason.replace("_", " "))


def spoken(name: str, update: Update) -> str:
    """What is said in the room about an update of the device `name` that is over."""
    if update.state == "done":
        return f"{name} runs {update.version} now."
    if update.reason in ("did_not_start", "no_healthy_reading"):
        return f"{name} went back to {update.before or 'the version before'}: {sentence(update)}."
    return f"{name} was not updated to {update.version}: {sentence(update)}."
