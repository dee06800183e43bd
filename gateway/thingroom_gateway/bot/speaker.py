"""What the bot says, with what comes of it: answers, files, questions, in the write that also ends the waiting.

May import answer, people, whereabouts, storage. worker.py decides what is said.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from thingroom_common.database import Transaction
from thingroom_gateway.alerts.texts import shown_duration
from thingroom_gateway.appservice import Later, Refused
from thingroom_gateway.bot.answer import YES_BUTTON, Answer, Attachment, attachment_content, message_content
from thingroom_gateway.bot.conversation import Tools
from thingroom_gateway.bot.inbox import Said
from thingroom_gateway.bot.people import NotNow
from thingroom_gateway.bot.whereabouts import Room
from thingroom_gateway.matrix_event import MESSAGE_TYPE
from thingroom_gateway.storage import bot as store
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.bot import Waiting

logger = logging.getLogger(__name__)

QUESTION_MS: Final = 5 * 60 * 1000


class Speaker:
    """Puts answers into the outbox."""

    def __init__(self, tools: Tools, filled: Callable[[], None]) -> None:
        self._tools = tools
        self._database = tools.database
        self._filled = filled

    async def give(self, room: Room, row: Waiting, said: Said, answer: Answer, puzzle: bool = False) -> None:
        """Put the answer into the outbox, do what it says, and take the message out of the inbox, in one write."""
        private_room = ""
        if answer.privately is not None:
            private_room = await self._chat_with(row.heard.sender)
        uris = await self._upload(answer.attachments)
        private = answer.privately
        private_uris = await self._upload(private.attachments) if private is not None else []
        if uris is None or private_uris is None:
            answer, private = Answer("Sorry, the homeserver did not take the file. Try again in a moment."), None
            uris, private_uris = [], []
        reply_to = row.heard.event_id if room.chat_of is None and said.kind == "message" else ""

        def write(transaction: Transaction) -> None:
            for change in answer.writes:
                change(transaction)
            self._put(transaction, room.room_id, answer, uris, reply_to, said.thread, row)
            if private is not None:
                self._put(transaction, private_room, private, private_uris, "", "", row)
            if puzzle:
                store.save_puzzle(transaction, row.heard.event_id, self._tools.now_ms())
            elif said.replaces:
                store.solve_puzzle(transaction, said.replaces)
            store.answered(transaction, [row])

        await self._database.write(write)
        if answer.then is not None:
            answer.then()
        self._filled()

    def _put(
        self,
        transaction: Transaction,
        room_id: str,
        answer: Answer,
        uris: Sequence[str],
        reply_to: str,
        thread: str,
        row: Waiting,
    ) -> None:
        now = self._tools.now_ms()
        rows: list[outbox.NewRow] = []
        if answer.text:
            content = message_content(answer.text, answer.html, reply_to, thread)
            rows.append(outbox.to_room(room_id, MESSAGE_TYPE, content, now, row.heard.event_id))
        for attachment, uri in zip(answer.attachments, uris, strict=True):
            content = attachment_content(attachment, uri, reply_to, thread)
            rows.append(outbox.to_room(room_id, MESSAGE_TYPE, content, now, row.heard.event_id))
        for new in rows:
            outbox.add(transaction, new)
            if answer.secret_until is not None:
                store.add_secret(transaction, new.txn_id, room_id, answer.secret_until)
        if answer.question is not None and rows:
            request = msgspec.json.encode(answer.question).decode()
            until = now + QUESTION_MS
            store.ask(transaction, store.Question(rows[0].txn_id, room_id, row.heard.sender, request, until))
            store.add_buttons(transaction, rows[0].txn_id, [YES_BUTTON], now)

    async def _upload(self, attachments: Sequence[Attachment]) -> list[str] | None:
        """The URIs of attachments; None if the homeserver would not have one. Raises NotNow."""
        uris = []
        for attachment in attachments:
            uri = await self._tools.client.upload(attachment.data, attachment.mimetype, attachment.filename)
            if isinstance(uri, Later):
                raise NotNow(uri.why)
            if isinstance(uri, Refused):
                logger.error("the homeserver refuses %s: %s", attachment.filename, uri)
                return None
            uris.append(uri)
        return uris

    async def _chat_with(self, person: str) -> str:
        """The direct chat with `person`, a new one if there is none that both are in. Raises NotNow."""
        known = self._database.read(lambda connection: store.chat_with(connection, person))
        if known is not None and person in await self._tools.people.members(known):
            return known
        made = await self._tools.people.chat_with(person)
        await self._database.write(partial(store.save_chat, room_id=made, person=person))
        return made

    def explain_encryption(self, transaction: Transaction, room: Room, row: Waiting) -> None:
        store.answered(transaction, [row])
        if store.explain_encryption_once(transaction, room.room_id):
            text = (
                "I cannot read encrypted messages, so I do not know what you said. Please start a chat with me that"
                " is not encrypted, or ask in a device's room."
            )
            now = self._tools.now_ms()
            outbox.add(transaction, outbox.to_room(room.room_id, MESSAGE_TYPE, message_content(text, "", "", ""), now))

    async def apologise(
        self, room: Room, late: Sequence[Waiting], now: int, addressed: Callable[[Room, Said], str | None]
    ) -> None:
        """Say once that what was said while we were away was not done. Buttons and talk among people are forgotten."""
        missed: list[tuple[Waiting, str]] = []
        for row in late:
            said = msgspec.convert(row.heard.event, Said)
            text = addressed(room, said) if said.kind == "message" and not said.replaces else None
            if text:
                missed.append((row, text))
        text = ""
        if missed:
            row, newest = missed[-1]
            quoted = newest if len(newest) <= 60 else newest[:59] + "…"
            ago = shown_duration(now - row.heard.said_at)
            others = f", and {len(missed) - 1} before it" if len(missed) > 1 else ""
            text = f"“{quoted}” was {ago} ago{others}. I was away and did not do it. Say it again if it still matters."

        def write(transaction: Transaction) -> None:
            store.answered(transaction, late)
            if text:
                content = message_content(text, "", "", "")
                outbox.add(transaction, outbox.to_room(room.room_id, MESSAGE_TYPE, content, now))

        await self._database.write(write)
        self._filled()

    async def drop(self, row: Waiting) -> None:
        await self._database.write(partial(store.answered, rows=[row]))

    def tell(self, transaction: Transaction, room_id: str, event_id: str, text: str) -> None:
        """Within a write: say `text` in a room in answer to `event_id`. What became of a command is told so."""
        now = self._tools.now_ms()
        content = message_content(text, "", "" if store.chat_of(transaction, room_id) else event_id, "")
        outbox.add(transaction, outbox.to_room(room_id, MESSAGE_TYPE, content, now, event_id))
        transaction.after_commit(self._filled)
