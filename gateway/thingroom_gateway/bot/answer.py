"""What the bot answers, as data, and as the content of messages.

Pure; may import requests. commands/ makes answers; worker.py puts them into the outbox, in the write that also carries
out what they say.
"""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from thingroom_common.database import Transaction
from thingroom_gateway.bot.requests import Request

MAX_BODY: Final = 16_000
YES_BUTTON: Final = "👍"


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file for the room. `body` is what people without pictures read; `size` is of a picture, in pixels."""

    data: bytes
    mimetype: str
    filename: str
    body: str
    size: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and what is done with it in one write.

    `writes` change the database; `then` is called after the commit. With a `question` nothing is done yet: it is, when
    the person says yes. `privately`: in a direct chat with the person, and only there; `secret_until` (Unix ms): taken
    back then. `refused`: the person may not.
    """

    text: str = ""
    html: str = ""
    attachments: Sequence[Attachment] = ()
    writes: Sequence[Callable[[Transaction], None]] = ()
    then: Callable[[], None] | None = None
    question: Request | None = None
    privately: Answer | None = None
    secret_until: int | None = None
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Lines:
    """Text and HTML that grow together."""

    text: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)

    def heading(self, words: str) -> None:
        self.text.append(words)
        self.html.append(f"<strong>{html.escape(words)}</strong><br>")

    def item(self, name: str, rest: str) -> None:
        """ "Kitchen: 21.4 °C" """
        self.text.append(f"{name}: {rest}" if rest else name)
        self.html.append(f"<strong>{html.escape(name)}</strong> {html.escape(rest)}<br>")

    def line(self, words: str) -> None:
        self.text.append(words)
        self.html.append(f"{html.escape(words)}<br>")

    def answer(self) -> Answer:
        return Answer("\n".join(self.text), "".join(self.html).removesuffix("<br>"))


def with_code(text: str) -> str:
    """HTML of a text in which `words in backquotes` are code."""
    parts = html.escape(text, quote=False).split("`")
    if len(parts) % 2 == 0:
        return "".join(parts)
    marked = [f"<code>{part}</code>" if index % 2 else part for index, part in enumerate(parts)]
    return "".join(marked).replace("\n", "<br>")


def message_content(text: str, html_text: str, reply_to: str, thread: str) -> str:
    """The content of an m.notice as JSON; `reply_to` and `thread` are event ids or empty."""
    cut = text if len(text) <= MAX_BODY else text[: MAX_BODY - 1] + "…"
    content: dict[str, Any] = {"msgtype": "m.notice", "body": cut, "m.mentions": {}}
    if html_text and len(html_text) <= 2 * MAX_BODY:
        content |= {"format": "org.matrix.custom.html", "formatted_body": html_text}
    return json.dumps(_related(content, reply_to, thread), ensure_ascii=False)


def attachment_content(attachment: Attachment, uri: str, reply_to: str, thread: str) -> str:
    """The content of an m.image or m.file as JSON."""
    picture = attachment.mimetype.startswith("image/")
    info: dict[str, Any] = {"mimetype": attachment.mimetype, "size": len(attachment.data)}
    if attachment.size is not None:
        info |= {"w": attachment.size[0], "h": attachment.size[1]}
    content = {
        "msgtype": "m.image" if picture else "m.file",
        "body": attachment.body,
        "filename": attachment.filename,
        "url": uri,
        "info": info,
        "m.mentions": {},
    }
    return json.dumps(_related(content, reply_to, thread), ensure_ascii=False)


def _related(content: dict[str, Any], reply_to: str, thread: str) -> dict[str, Any]:
    if thread:
        relation: dict[str, Any] = {"rel_type": "m.thread", "event_id": thread, "is_falling_back": True}
        content["m.relates_to"] = {**relation, "m.in_reply_to": {"event_id": reply_to or thread}}
    elif reply_to:
        content["m.relates_to"] = {"m.in_reply_to": {"event_id": reply_to}}
    return content
