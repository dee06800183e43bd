"""What the gateway heard, as event content shows it beside attested readings.

Pure; imports the standard library. The bytes stand where a signed envelope would: matrix_event.py puts them in.
"""

from __future__ import annotations

import json
from typing import Final

MAX_ORIGINAL: Final = 4096


def original(topic: str, text: str) -> bytes:
    """A JSON object with the topic and the payload's text; one longer than 4 kB has its payload cut, and says so."""
    heard: dict[str, object] = {"topic": topic, "payload": text}
    encoded = json.dumps(heard, ensure_ascii=False).encode()
    if len(encoded) > MAX_ORIGINAL:
        heard = {"topic": topic, "payload": text[:1000], "cut": True}
        encoded = json.dumps(heard, ensure_ascii=False).encode()
    return encoded
