"""The state `org.thingroom.device` of a room: who a device is, and its key. Pure; may import thingroom_wire.

verify.py keeps one of these for each device, as it is at the place in the room that it has come to.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Final

from thingroom_wire.errors import WireError
from thingroom_wire.keys import ED25519, parse_key_on, thumbprint
from thingroom_wire.limits import MAX_ENVELOPE

DEVICE_TYPE: Final = "org.thingroom.device"
MAX_TEXT: Final = 256
MAX_BASE64: Final = (MAX_ENVELOPE + 2) // 3 * 4


@dataclass(frozen=True, slots=True)
class DeviceState:
    """`device`: the state key. `key`: the Ed25519 public key, 32 bytes, None if there is none to use: then `problem`
    says why, a snake_case word, or is empty for a device that its gateway attests.

    `fingerprint`: the key's thumbprint in hex. `server`: of whoever wrote the state. `replaces`: another device, or "".
    """

    device: str
    key: bytes | None
    problem: str
    fingerprint: str
    name: str
    profile: str
    status: str
    replaces: str
    server: str

    @property
    def attested(self) -> bool:
        return self.key is None and not self.problem


def clean_text(value: object) -> str:
    """`value` if it is text, cut to MAX_TEXT, without what UTF-8 cannot say; else nothing."""
    return value[:MAX_TEXT].encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def decode_base64(text: str) -> bytes | None:
    """Base64, padded or not (Matrix specification, Appendices, Unpadded Base64); None if it is none, or too long."""
    if len(text) > MAX_BASE64 or not text.isascii():
        return None
    try:
        return base64.b64decode(text.rstrip("=") + "=" * (-len(text.rstrip("=")) % 4), validate=True)
    except binascii.Error:
        return None


def parse_device_state(device: str, content: object, sender: str) -> DeviceState:
    """What state event `device` says. Never raises: what cannot be used has a `problem`."""
    said = content if isinstance(content, dict) else {}

    def text(field: str) -> str:
        return clean_text(said.get(field))

    key, problem = None, ""
    if "key" in said:
        key, problem = _key(device, said["key"])
    elif said.get("attested_by") != "gateway":
        problem = "no_key"
    fingerprint = "" if key is None else thumbprint(key).hex()
    server = sender.partition(":")[2]
    return DeviceState(
        device, key, problem, fingerprint, text("name"), text("profile"), text("status"), text("replaces"), server
    )


def _key(device: str, value: object) -> tuple[bytes | None, str]:
    data = decode_base64(value) if isinstance(value, str) else None
    if data is None:
        return None, "bad_base64"
    try:
        key: bytes = parse_key_on(ED25519, data)
    except WireError as error:
        return None, str(error.reason)
    # The key id is a digest of the key: under it there can be no other key.
    return (key, "") if thumbprint(key)[:8].hex() == device else (None, "key_is_not_the_devices")
