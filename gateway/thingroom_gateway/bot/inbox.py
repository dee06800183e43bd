"""What of the homeserver's transactions is for the bot: events become small, checked rows of the inbox.

Pure; may import msgspec. appservice_http.py calls `pick`; nothing of an event that is not named here is kept.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from thingroom_gateway.bot.vocabulary import MAX_TEXT
from thingroom_gateway.storage.bot import Heard

MAX_EVENTS: Final = 20_000
MAX_ID: Final = 255
MAX_TS: Final = 1 << 53


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody said or did. Which fields count depends on `kind`.

    message: `body` (cut), `mentions` whether the bot is meant, `replaces` the event that this is an edit of, `thread`.
    reaction: `target` and `key`. member: `membership` of the bot, `direct`. encrypted: nothing more.
    """

    kind: Literal["message", "reaction", "member", "encrypted"]
    body: str = ""
    mentions: bool = False
    replaces: str = ""
    thread: str = ""
    target: str = ""
    key: str = ""
    membership: str = ""
    direct: bool = False


class Picked(msgspec.Struct, frozen=True):
    """What a transaction had: `heard` for the inbox, `changed` rooms of which members or power levels changed.

    `redacted` are events that were taken out of their rooms. Of `events` in all, `odd` were no events, and `beyond`
    were too many to look at.
    """

    heard: list[Heard]
    changed: set[str]
    redacted: list[str]
    events: int
    odd: int
    beyond: int


def pick(body: object, bot: str, ghosts: str) -> Picked:
    """The events of a transaction's body that concern the bot; whatever is odd is passed over.

    `bot` is its user id; users that begin with `ghosts` are our own, and what they say is no command.
    """
    heard: list[Heard] = []
    changed: set[str] = set()
    redacted: list[str] = []
    odd = 0
    given = body.get("events") if isinstance(body, dict) else None
    events: list[Any] = given if isinstance(given, list) else []
    for event in events[:MAX_EVENTS]:
        if not isinstance(event, dict):
            odd += 1
            continue
        event_id, room_id, sender = (_id(event, name) for name in ("event_id", "room_id", "sender"))
        content, kind, ts = event.get("content"), event.get("type"), event.get("origin_server_ts")
        if not (event_id and room_id and sender and isinstance(content, dict)):
            odd += 1
            continue
        if kind in ("m.room.member", "m.room.power_levels") and isinstance(event.get("state_key"), str):
            changed.add(room_id)
        if kind == "m.room.redaction":
            # Where it is depends on the version of the room (Client-Server API, m.room.redaction).
            redacted += filter(None, (_id(event, "redacts"), _id(content, "redacts")))
        if sender == bot or sender.startswith(ghosts) or type(ts) is not int or not 0 <= ts < MAX_TS:
            continue
        said = _said(kind, content, event.get("state_key"), bot)
        if said is not None:
            heard.append(Heard(event_id, room_id, sender, ts, msgspec.to_builtins(said)))
    return Picked(heard, changed, redacted, len(events), odd, max(0, len(events) - MAX_EVENTS))


def _said(kind: object, content: dict[str, Any], state_key: object, bot: str) -> Said | None:
    if kind == "m.room.encrypted":
        return Said("encrypted")
    if kind == "m.room.member":
        membership = content.get("membership")
        if state_key != bot or membership not in ("invite", "leave", "ban"):
            return None
        return Said("member", membership=membership, direct=content.get("is_direct") is True)
    relation = _object(content.get("m.relates_to"))
    if kind == "m.reaction":
        target, key = _id(relation, "event_id"), relation.get("key")
        if relation.get("rel_type") != "m.annotation" or not target or not isinstance(key, str) or len(key) > 16:
            return None
        return Said("reaction", target=target, key=_sound(key))
    if kind != "m.room.message":
        return None
    replaces = _id(relation, "event_id") if relation.get("rel_type") == "m.replace" else ""
    said = _object(content.get("m.new_content")) if replaces else content
    # Notices are for people only: answering them would set two bots talking for ever.
    if said.get("msgtype") != "m.text" or not isinstance(said.get("body"), str):
        return None
    text = without_quote(said["body"][: 4 * MAX_TEXT]) if _object(relation.get("m.in_reply_to")) else said["body"]
    thread = _id(relation, "event_id") if relation.get("rel_type") == "m.thread" else ""
    return Said(
        "message", body=_sound(text[: MAX_TEXT + 1]), mentions=_mentions(said, bot), replaces=replaces, thread=thread
    )


def _mentions(content: dict[str, Any], bot: str) -> bool:
    users = _object(content.get("m.mentions")).get("user_ids")
    if isinstance(users, list) and bot in users[:100]:
        return True
    formatted = content.get("formatted_body")
    return isinstance(formatted, str) and f"https://matrix.to/#/{bot}" in formatted[: 8 * MAX_TEXT]


def without_quote(body: str) -> str:
    """A reply's body without the lines that older clients quote before it."""
    lines = body.split("\n")
    at = 0
    while at < len(lines) and lines[at].startswith("> "):
        at += 1
    return "\n".join(lines[at:]).strip() if at else body


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(container: dict[str, Any], name: str) -> str:
    value = container.get(name)
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID and value.isprintable() else ""


def _sound(text: str) -> str:
    """`text` without halves of surrogate pairs, which nothing can store."""
    return text.encode("utf-8", "replace").decode()
