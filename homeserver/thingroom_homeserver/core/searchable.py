"""What of an event can be searched for.

Imports event only. Source: Client-Server API, "Server Side Search".
"""

from __future__ import annotations

from thingroom_homeserver.core.event import Event

_FIELDS = {"m.room.message": "body", "m.room.name": "name", "m.room.topic": "topic"}


def searchable_text(event: Event) -> tuple[str, str] | None:
    """(`body`, `name` or `topic`, its text), or None if the event has nothing to search for."""
    field = _FIELDS.get(event.type)
    if field is None or (event.is_state != (field != "body")):
        return None
    texts = [event.content.get(field)]
    if field == "topic":
        texts.append(_plain_topic(event.content.get("m.topic")))
    found = dict.fromkeys(text for text in texts if isinstance(text, str) and text)
    return (field, "\n".join(found)) if found else None


def _plain_topic(topic: object) -> object:
    """The text/plain representation in m.topic; a representation without a type is one."""
    blocks = topic.get("m.text") if isinstance(topic, dict) else None
    for block in blocks if isinstance(blocks, list) else ():
        if isinstance(block, dict) and block.get("mimetype", "text/plain") == "text/plain":
            return block.get("body")
    return None
