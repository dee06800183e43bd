"""What the gateway says in Matrix, as content: notices, machine events, device state.

Pure; imports the standard library only. batching.py makes outbox rows of it. Event content holds no floats: decimals
travel as strings (Matrix specification, Appendices, Canonical JSON).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

READINGS_TYPE = "org.thingroom.readings"
DEVICE_TYPE = "org.thingroom.device"
PRESENCE_TYPE = "org.thingroom.presence"
MESSAGE_TYPE = "m.room.message"
REACTION_TYPE = "m.reaction"
REDACTION_TYPE = "m.room.redaction"
# No event: a row of the outbox that takes a device's ghost out of its old room, after all that it had to say there.
LEAVE_TYPE = "org.thingroom.leave"
# No event either: the text that a device's live message shall have. It is sent as an edit of that message.
EDIT_TYPE = "org.thingroom.edit"
# A content of one envelope beyond this is refused at the door; 65,536 bytes is the limit of a whole event.
MAX_CONTENT = 56_000
# Nobody reads more in one message; an edit holds its text twice.
MAX_NOTICE = 4000


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
    return json.dumps(_notice(f"{name} {text}"), ensure_ascii=False)


def edit_request(opening: str, name: str, text: str) -> str:
    """What a row of EDIT_TYPE holds: the transaction of the message that it is an edit of, and the new text."""
    return json.dumps({"opening": opening, "body": f"{name} {text}"[:MAX_NOTICE]}, ensure_ascii=False)


def edit_content(event_id: str, body: str) -> str:
    """The content of an edit of the notice `event_id` (Client-Server API, Event replacements)."""
    edit = _notice(body)
    content = {
        **edit,
        "body": f"* {edit['body']}",
        "m.new_content": edit,
        "m.relates_to": {"rel_type": "m.replace", "event_id": event_id},
    }
    return json.dumps(content, ensure_ascii=False)


def _notice(body: str) -> dict[str, Any]:
    return {"msgtype": "m.notice", "body": body[:MAX_NOTICE], "m.mentions": {}}


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
