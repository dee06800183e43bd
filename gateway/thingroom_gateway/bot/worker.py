"""The bot at work: what waits in the inbox is answered, room by room, and then forgotten in the write that answers.

A crash leaves a message waiting, so it is answered once more from the beginning; what was said, was said once. May
import everything of bot/ and storage. app.py runs it; appservice_http.py kicks it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

import msgspec

from thingroom_common.database import Transaction
from thingroom_gateway.alerts.texts import shown_duration
from thingroom_gateway.appservice import Done, Later, Refused
from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.answer import (
    YES_BUTTON,
    Answer,
    Attachment,
    attachment_content,
    message_content,
    with_code,
)
from thingroom_gateway.bot.commands.table import answer_to
from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.inbox import Said
from thingroom_gateway.bot.language import is_plain_question, parse, without_address
from thingroom_gateway.bot.names import vocabulary_of
from thingroom_gateway.bot.people import NotNow
from thingroom_gateway.bot.requests import Request, Unclear
from thingroom_gateway.bot.vocabulary import fold
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.matrix_event import MESSAGE_TYPE
from thingroom_gateway.outbox import Sent
from thingroom_gateway.storage import alerts as alert_store
from thingroom_gateway.storage import bot as store
from thingroom_gateway.storage import outbox, places
from thingroom_gateway.storage.bot import Waiting
from thingroom_gateway.storage.places import SPACE

logger = logging.getLogger(__name__)

# What was said longer ago is not done any more: whoever said it may have found another way.
STALE_MS: Final = 5 * 60 * 1000
QUESTION_MS: Final = 5 * 60 * 1000
ROOMS_AT_ONCE: Final = 4
READ_AT_ONCE: Final = 50
RETRY_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 5.0
# One person may say so much at once, and then one thing in so many seconds.
BURST: Final = 12.0
SECONDS_EACH: Final = 2.0
PERSONS: Final = 1000
SNOOZE_KEYS: Final = ("⏰", "🔕", "💤")
YES_KEYS: Final = ("👍", "✅", "👍️")
NO_KEYS: Final = ("👎", "❌", "👎️")


@dataclass(slots=True)
class _Allowance:
    left: float
    at: float
    told: bool = False


@dataclass(frozen=True, slots=True)
class _Room:
    """What a room is to the bot: a place's, the Space (place SPACE), a direct chat, or none of these."""

    room_id: str
    place: str | None
    chat_of: str | None


class Bot:
    """Answers. `kick` says that something waits."""

    def __init__(self, tools: Tools, monotonic: Callable[[], float], filled: Callable[[], None]) -> None:
        self._tools = tools
        self._database = tools.database
        self._monotonic = monotonic
        self._filled = filled
        self._kicked = asyncio.Event()
        self._kicked.set()
        # Told of each request: its kind, as in bot/requests.py, and what came of it.
        self.watchers: list[Callable[[str, str], None]] = []
        self._allowances: OrderedDict[str, _Allowance] = OrderedDict()
        self._pauses: dict[str, float] = {}
        self._known = {device.row.id for device in tools.registry}
        self._paired: list[Device] = []
        bot = tools.home.bot
        self._names = [fold(name) for name in (bot, bot[1:].partition(":")[0], bot.partition(":")[0], "bot")]

    def kick(self) -> None:
        self._kicked.set()

    def arrived(self, transaction: Transaction, sent: Sent) -> None:
        """A message of ours is in its room: its buttons go after it."""
        if sent.row.type == MESSAGE_TYPE and sent.event_id:
            store.arrived(transaction, sent.row.txn_id, sent.room_id, sent.event_id, self._tools.now_ms())
            transaction.after_commit(self._filled)

    def tell(self, transaction: Transaction, room_id: str, event_id: str, text: str) -> None:
        """Within a write: say `text` in a room in answer to `event_id`. What became of a command is told so."""
        now = self._tools.now_ms()
        content = message_content(text, "", "" if store.chat_of(transaction, room_id) else event_id, "")
        outbox.add(transaction, outbox.to_room(room_id, MESSAGE_TYPE, content, now, event_id))
        transaction.after_commit(self._filled)

    def enrolled(self, device: Device) -> None:
        """A device was let in while pairing was open: whoever opened it is told."""
        if device.row.id in self._known:
            return
        self._known.add(device.row.id)
        if self._tools.pairing.current() is not None:
            self._paired.append(device)
            self._kicked.set()

    async def _tell_paired(self) -> None:
        while self._paired:
            device = self._paired[0]
            chats = self._database.read(store.chats_with_secrets)
            text = (
                f"{device.row.name} ({device.profile.title}) is paired, and lives in the room {device.row.place}."
                " `rename` and `move` change that; if it takes the place of another, say `replace … with …`."
            )

            def write(transaction: Transaction, text: str = text, chats: Sequence[str] = tuple(chats)) -> None:
                for room_id in chats:
                    content = message_content(text, with_code(text), "", "")
                    now = self._tools.now_ms()
                    outbox.add(transaction, outbox.to_room(room_id, MESSAGE_TYPE, content, now))

            await self._database.write(write)
            self._paired.pop(0)
            self._filled()

    async def run(self) -> None:
        """Answer until cancelled."""
        serving: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                self._kicked.clear()
                self._start(serving)
                kick = asyncio.create_task(self._kicked.wait())
                try:
                    await asyncio.wait(
                        {kick, *serving.values()}, timeout=SWEEP_SECONDS, return_when=asyncio.FIRST_COMPLETED
                    )
                finally:
                    kick.cancel()
                for room_id in [room_id for room_id, task in serving.items() if task.done()]:
                    serving.pop(room_id).result()
                await self._sweep()
        finally:
            for task in serving.values():
                task.cancel()
            await asyncio.gather(*serving.values(), return_exceptions=True)

    def _start(self, serving: dict[str, asyncio.Task[None]]) -> None:
        now = self._monotonic()
        for room_id in self._database.read(store.rooms_waiting):
            if len(serving) >= ROOMS_AT_ONCE:
                return
            if room_id not in serving and self._pauses.get(room_id, 0.0) <= now:
                self._pauses.pop(room_id, None)
                serving[room_id] = asyncio.create_task(self._serve(room_id), name=f"bot in {room_id}")

    async def _sweep(self) -> None:
        now = self._tools.now_ms()
        try:
            await self._tell_paired()
            due = self._database.read(lambda connection: store.secrets_due(connection, now))
            if due:
                await self._database.write(partial(store.take_back_secrets, now=now))
                self._filled()
        except sqlite3.Error as error:
            logger.error("the bot waits for the database: %s", error)

    async def _serve(self, room_id: str) -> None:
        """Answer what waits in one room, in order."""
        try:
            while rows := self._database.read(partial(store.waiting_in, room_id=room_id, limit=READ_AT_ONCE)):
                await self._take(room_id, rows)
        except (NotNow, sqlite3.Error) as error:
            logger.warning("what was said in %s waits: %s", room_id, error)
            self._pauses[room_id] = self._monotonic() + RETRY_SECONDS

    async def _take(self, room_id: str, rows: Sequence[Waiting]) -> None:
        room = await self._room(room_id)
        now = self._tools.now_ms()
        late: list[Waiting] = []
        for row in rows:
            said = msgspec.convert(row.heard.event, Said)
            if said.kind == "member":
                await self._guarded(row, self._membership(row, said))
                return
            if now - row.heard.said_at > STALE_MS:
                late.append(row)
                continue
            if late:
                break
            await self._guarded(row, self._one(room, row, said))
        if late:
            await self._apologise(room, late, now)

    async def _guarded(self, row: Waiting, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; a message that cannot be dealt with is dropped, so that it does not come again for ever."""
        try:
            await work
        except (NotNow, sqlite3.Error):
            raise
        except Exception:
            logger.exception("the bot failed at event %s", row.heard.event_id)
            await self._drop(row)

    # --- one message -------------------------------------------------------------------------------------------------

    async def _one(self, room: _Room, row: Waiting, said: Said) -> None:
        person = row.heard.sender
        if said.kind == "encrypted":
            await self._database.write(partial(self._explain_encryption, room=room, row=row))
            self._filled()
            return
        if said.kind == "reaction":
            await self._reaction(room, row, said)
            return
        if said.replaces and not self._database.read(lambda c: store.is_puzzle(c, said.replaces)):
            # An edit of something that was done already changes nothing; of something not understood it is a new try.
            await self._drop(row)
            return
        text = self._addressed(room, said)
        where = await self._where(room, row)
        words = vocabulary_of(where.devices)
        if text is None:
            if room.place is None or not is_plain_question(said.body, words):
                await self._drop(row)
                return
            text = said.body
        allowed = self._allow(person)
        if not allowed:
            self._counted("any", "too_much")
            await self._slow_down(room, row, said)
            return
        request = parse(text, words)
        try:
            answer = await self._answer(request, where, said)
        except (NotNow, sqlite3.Error):
            raise
        except Exception:
            # A bug in one command is no reason to leave everybody without a bot, or to try it for ever.
            logger.exception("the bot failed at %r", text[:200])
            self._counted(type(request).__name__, "failed")
            answer = Answer("Sorry, something went wrong with that. The gateway's log says what.")
        else:
            self._counted(type(request).__name__, "not_understood" if isinstance(request, Unclear) else "answered")
        await self._give(room, row, said, answer, puzzle=isinstance(request, Unclear))

    def _counted(self, kind: str, outcome: str) -> None:
        for watcher in self.watchers:
            watcher(kind.lower(), outcome)

    async def _answer(self, request: Request | Unclear, where: Where, said: Said) -> Answer:
        if isinstance(request, r.Yes | r.No):
            return await self._settle(request, where)
        if isinstance(request, Unclear):
            if request.suggestion:
                text = f"Did you mean `{request.suggestion}`? 👍 or `yes` does it."
                mended = parse(request.suggestion, vocabulary_of(where.devices))
                assert not isinstance(mended, Unclear)
                return Answer(text, with_code(text), question=mended)
            text = request.why or "I did not understand that. `help` says what I can do."
            return Answer(text, with_code(text))
        return await answer_to(request, where, self._tools)

    async def _settle(self, request: r.Yes | r.No, where: Where) -> Answer:
        """A yes or no to the question that waits for this person in this room."""
        question = self._database.read(lambda c: store.question_to(c, where.room_id, where.person))
        if question is None or question.until < self._tools.now_ms():
            return Answer("There is nothing to say yes or no to.")
        drop = partial(store.drop_question, txn_id=question.txn_id)
        if isinstance(request, r.No):
            return Answer("All right, I leave it.", writes=[drop])
        agreed = msgspec.json.decode(question.request, type=Request)
        answer = await answer_to(agreed, replace(where, confirmed=True), self._tools)
        return replace(answer, writes=[drop, *answer.writes])

    async def _reaction(self, room: _Room, row: Waiting, said: Said) -> None:
        """A button: 👍 and 👎 under a question, ⏰ under an alert."""
        key = said.key.removesuffix("\ufe0f")
        where = await self._where(room, row)
        question = self._database.read(lambda c: store.question_of(c, said.target))
        if question is not None and key in (*YES_KEYS, *NO_KEYS):
            # Only whoever was asked decides.
            if question.person == row.heard.sender and self._allow(row.heard.sender):
                answer = await self._settle(r.Yes() if key in YES_KEYS else r.No(), where)
                await self._give(room, row, said, answer)
                return
        elif key in SNOOZE_KEYS and self._allow(row.heard.sender):
            rule = self._database.read(lambda c: alert_store.rule_of_message(c, said.target))
            if rule is not None:
                await self._give(room, row, said, await answer_to(r.Snooze(rule), where, self._tools))
                return
        await self._drop(row)

    def _addressed(self, room: _Room, said: Said) -> str | None:
        """What is said to the bot, without its name; None if it is for others."""
        text = without_address(said.body, self._names)
        if text is None and (room.chat_of is not None or said.mentions):
            return said.body
        return text

    # --- who and where -----------------------------------------------------------------------------------------------

    async def _room(self, room_id: str) -> _Room:
        place = self._database.read(lambda connection: places.place_of_room(connection, room_id))
        if place is not None:
            return _Room(room_id, place, None)
        members = await self._tools.people.members(room_id)
        others = members - {self._tools.home.bot}
        person = next(iter(others)) if len(others) == 1 and self._tools.home.bot in members else None
        known = self._database.read(lambda connection: store.chat_of(connection, room_id))
        if person != known and (person or known):
            await self._database.write(partial(store.save_chat, room_id=room_id, person=person or ""))
        return _Room(room_id, None, person)

    async def _where(self, room: _Room, row: Waiting) -> Where:
        person = row.heard.sender
        return Where(room.room_id, row.heard.event_id, person, room.place, await self._devices(room, person))

    async def _devices(self, room: _Room, person: str) -> list[Device]:
        """What may be talked about: in a place's room what is in it, in a direct chat what the person could see."""
        if room.place is not None and room.place != SPACE:
            return [d for d in self._tools.registry if d.row.place == room.place and d.row.status == ACTIVE]
        if room.chat_of == person or room.place == SPACE:
            # The Space has members who are not in every room: there only what the owner asks concerns all devices.
            if room.place == SPACE and person != self._tools.home.owner:
                return []
            allowed = await self._tools.people.places_of(person)
            owner = person == self._tools.home.owner
            return [d for d in self._tools.registry if d.row.status == ACTIVE and (owner or d.row.place in allowed)]
        return []

    async def _membership(self, row: Waiting, said: Said) -> None:
        """The bot was invited, or put out."""
        room_id, person = row.heard.room_id, row.heard.sender
        if said.membership == "invite":
            await self._invited(row, room_id, person)
            return

        def write(transaction: Transaction) -> None:
            store.forget_chat(transaction, room_id)
            store.answered(transaction, [row])

        await self._database.write(write)

    async def _invited(self, row: Waiting, room_id: str, person: str) -> None:
        """Into a chat with somebody of this home: those of our server, and those in our rooms. Others are declined."""
        home, client = self._tools.home, self._tools.client
        ours = person.partition(":")[2] == home.server_name or bool(await self._tools.people.places_of(person))
        answer = await (client.join_as_bot(room_id) if ours else client.leave(room_id))
        if isinstance(answer, Later):
            raise NotNow(answer.why)
        if isinstance(answer, Refused) or not ours:
            await self._drop(row)
            return
        assert isinstance(answer, Done)
        self._tools.people.changed(room_id)
        room = await self._room(room_id)
        if room.chat_of is None and room.place is None:
            text = (
                "Hello. I talk about devices in their own rooms and in direct chats, so that nobody reads what is not"
                " theirs. Start a chat with me alone."
            )
        else:
            text = "Hello, I am the gateway. Ask me about your devices: `status`, `chart temperature 24h`, `help`."
        await self._give(room, row, Said("member"), Answer(text, with_code(text)))

    # --- saying ------------------------------------------------------------------------------------------------------

    async def _give(self, room: _Room, row: Waiting, said: Said, answer: Answer, puzzle: bool = False) -> None:
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

    def _explain_encryption(self, transaction: Transaction, room: _Room, row: Waiting) -> None:
        store.answered(transaction, [row])
        if store.explain_encryption_once(transaction, room.room_id):
            text = (
                "I cannot read encrypted messages, so I do not know what you said. Please start a chat with me that"
                " is not encrypted, or ask in a device's room."
            )
            now = self._tools.now_ms()
            outbox.add(transaction, outbox.to_room(room.room_id, MESSAGE_TYPE, message_content(text, "", "", ""), now))

    async def _apologise(self, room: _Room, late: Sequence[Waiting], now: int) -> None:
        """Say once that what was said while we were away was not done. Buttons and talk among people are forgotten."""
        missed: list[tuple[Waiting, str]] = []
        for row in late:
            said = msgspec.convert(row.heard.event, Said)
            text = self._addressed(room, said) if said.kind == "message" and not said.replaces else None
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

    async def _drop(self, row: Waiting) -> None:
        await self._database.write(partial(store.answered, rows=[row]))

    # --- floods ------------------------------------------------------------------------------------------------------

    def _allow(self, person: str) -> bool:
        """Whether `person` may be answered once more just now."""
        now = self._monotonic()
        allowance = self._allowances.pop(person, None) or _Allowance(BURST, now)
        allowance.left = min(BURST, allowance.left + (now - allowance.at) / SECONDS_EACH)
        allowance.at = now
        self._allowances[person] = allowance
        if len(self._allowances) > PERSONS:
            self._allowances.popitem(last=False)
        if allowance.left < 1.0:
            return False
        allowance.left -= 1.0
        allowance.told = False
        return True

    async def _slow_down(self, room: _Room, row: Waiting, said: Said) -> None:
        """Say so once; what comes until there is patience again is passed over."""
        allowance = self._allowances[row.heard.sender]
        if allowance.told:
            await self._drop(row)
            return
        allowance.told = True
        await self._give(room, row, said, Answer("That was a lot at once. I listen again in some seconds."))
