"""What the gateway says in Matrix, as content: notices, machine events, device state.

Pure; imports the standard library only. batching.py makes outbox rows of it. Event content holds no floats: decimals
travel as strings (Matrix specification, Appendices, Canonical JSON).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping

READINGS_TYPE = "org.thingroom.readings"
DEVICE_TYPE = "org.thingroom.device"
PRESENCE_TYPE = "org.thingroom.presence"
MESSAGE_TYPE = "m.room.message"
REACTION_TYPE = "m.reaction"
REDACTION_TYPE = "m.room.redaction"
# No event: a row of the outbox that takes a device's ghost out of its old room, after all that it had to say there.
LEAVE_TYPE = "org.thingroom.leave"
# A content of one envelope beyond this is refused at the door; 65,536 bytes is the limit of a whole event.
MAX_CONTENT = 56_000


def unpadded(data: bytes) -> str:
    """Unpadded base64 (Matrix specification, Appendices)."""
    return base64.b64encode(data).rstrip(b"=").decode("ascii")


def readings_content(device: str, envelopes: Iterable[bytes], readings: Iterable[str]) -> str:
    """The content of `org.thingroom.readings` as JSON text.

    `device`: key id in hex. `envelopes`: the bytes as they arrived. `readings`: Observation.readings of each.
    """
    encoded = ",".join(f'"{unpadded(envelope)}"' for envelope in envelopes)
    return f'{{"attested_by":"device","device":"{device}","envelopes":[{encoded}],"readings":[{",".join(readings)}]}}'


def attested_content(device: str, originals: Iterable[bytes], readings: Iterable[str]) -> str:
    """The same for a plain MQTT device, which signs nothing: the gateway vouches, and shows what it heard.

    `originals`: for each, a JSON object with "topic" and "payload" as UTF-8 (plain/original.py makes them).
    """
    heard = ",".join(original.decode() for original in originals)
    return f'{{"attested_by":"gateway","device":"{device}","originals":[{heard}],"readings":[{",".join(readings)}]}}'


def content_size(envelope_bytes: int, readings_bytes: int) -> int:
    """What one envelope adds to the size of a readings content, in bytes: base64, quotes, commas."""
    return (envelope_bytes * 4 + 2) // 3 + readings_bytes + 4


def notice_content(name: str, text: str) -> str:
    """The content of an `m.notice`: "Kitchen 21.4 °C, 45 %"."""
    return json.dumps({"msgtype": "m.notice", "body": f"{name} {text}"}, ensure_ascii=False)


def device_content(
    key: bytes | None, profile: str, name: str, status: str, extra: Mapping[str, str] | None = None
) -> str:
    """The content of the state event `org.thingroom.device`; `key` is the COSE_Key.

    `status`: active, revoked, or moved in a room that is the device's no more. `extra`: what it replaces, by key id.

    Without a key the device signs nothing, and the gateway attests what it says.
    """
    who = {"attested_by": "gateway"} if key is None else {"key": unpadded(key)}
    said = {**who, "profile": profile, "name": name, "status": status, **(extra or {})}
    return json.dumps(said, ensure_ascii=False)
