"""The bot at work: what waits in the inbox is answered, room by room, and then forgotten in the write that answers.

A crash leaves a message waiting, so it is answered once more from the beginning; what was said, was said once. May
import everything of bot/ and storage. app.py runs it; appservice_http.py kicks it.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import msgspec

from thingroom_common.database import Transaction
from thingroom_gateway.appservice import Done, Later, Refused
from thingroom_gateway.bot import requests as r
from thingroom_gateway.bot.allowances import Allowances
from thingroom_gateway.bot.answer import (
    Answer,
    message_content,
    with_code,
)
from thingroom_gateway.bot.commands.elsewhere import elsewhere, said_of
from thingroom_gateway.bot.commands.table import answer_to
from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.inbox import Said
from thingroom_gateway.bot.language import is_plain_question, parse, without_address
from thingroom_gateway.bot.names import vocabulary_of
from thingroom_gateway.bot.people import NotNow
from thingroom_gateway.bot.requests import Request, Unclear
from thingroom_gateway.bot.speaker import Speaker
from thingroom_gateway.bot.vocabulary import fold
from thingroom_gateway.bot.whereabouts import Room, Whereabouts
from thingroom_gateway.devices import Device
from thingroom_gateway.matrix_event import MESSAGE_TYPE
from thingroom_gateway.outbox import Sent
from thingroom_gateway.storage import alerts as alert_store
from thingroom_gateway.storage import bot as store
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.bot import Waiting

logger = logging.getLogger(__name__)

# What was said longer ago is not done any more: whoever said it may have found another way.
STALE_MS: Final = 5 * 60 * 1000
ROOMS_AT_ONCE: Final = 4
READ_AT_ONCE: Final = 50
RETRY_SECONDS: Final = 5.0
SWEEP_SECONDS: Final = 5.0
SNOOZE_KEYS: Final = ("⏰", "🔕", "💤")
YES_KEYS: Final = ("👍", "✅", "👍️")
NO_KEYS: Final = ("👎", "❌", "👎️")


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
        self._allowances = Allowances(monotonic)
        self._whereabouts = Whereabouts(tools)
        self._speaker = Speaker(tools, filled)
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
        self._speaker.tell(transaction, room_id, event_id, text)

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
        room = await self._whereabouts.room(room_id)
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
            await self._speaker.apologise(room, late, now, self._addressed)

    async def _guarded(self, row: Waiting, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; a message that cannot be dealt with is dropped, so that it does not come again for ever."""
        try:
            await work
        except (NotNow, sqlite3.Error):
            raise
        except Exception:
            logger.exception("the bot failed at event %s", row.heard.event_id)
            await self._speaker.drop(row)

    # --- one message -------------------------------------------------------------------------------------------------

    async def _one(self, room: Room, row: Waiting, said: Said) -> None:
        person = row.heard.sender
        if said.kind == "encrypted":
            await self._database.write(partial(self._speaker.explain_encryption, room=room, row=row))
            self._filled()
            return
        if said.kind == "reaction":
            await self._reaction(room, row, said)
            return
        if said.replaces and not self._database.read(lambda c: store.is_puzzle(c, said.replaces)):
            # An edit of something that was done already changes nothing; of something not understood it is a new try.
            await self._speaker.drop(row)
            return
        text = self._addressed(room, said)
        where = await self._whereabouts.where(room, row)
        words = vocabulary_of(where.devices)
        if text is None:
            if room.place is None or not is_plain_question(said.body, words):
                await self._speaker.drop(row)
                return
            text = said.body
        allowed = self._allowances.allow(person)
        if not allowed:
            self._counted("any", "too_much")
            if self._allowances.tell_once(person):
                slow = Answer("That was a lot at once. I listen again in some seconds.")
                await self._speaker.give(room, row, said, slow)
            else:
                await self._speaker.drop(row)
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
        await self._speaker.give(room, row, said, answer, puzzle=isinstance(request, Unclear))

    def _counted(self, kind: str, outcome: str) -> None:
        for watcher in self.watchers:
            watcher(kind.lower(), outcome)

    async def _answer(self, request: Request | Unclear, where: Where, said: Said) -> Answer:
        if isinstance(request, r.Yes | r.No):
            return await self._settle(request, where)
        if isinstance(request, Unclear):
            # What is called so elsewhere is meant rather than what is called nearly so here.
            near = said_of(await elsewhere(said.body, where, self._tools)) if not request.why else ""
            if request.suggestion and not near:
                text = f"Did you mean `{request.suggestion}`? 👍 or `yes` does it."
                mended = parse(request.suggestion, vocabulary_of(where.devices))
                assert not isinstance(mended, Unclear)
                return Answer(text, with_code(text), question=mended)
            text = request.why or near or "I did not understand that. `help` says what I can do."
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

    async def _reaction(self, room: Room, row: Waiting, said: Said) -> None:
        """A button: 👍 and 👎 under a question, ⏰ under an alert."""
        key = said.key.removesuffix("\ufe0f")
        where = await self._whereabouts.where(room, row)
        question = self._database.read(lambda c: store.question_of(c, said.target))
        if question is not None and key in (*YES_KEYS, *NO_KEYS):
            # Only whoever was asked decides.
            if question.person == row.heard.sender and self._allowances.allow(row.heard.sender):
                answer = await self._settle(r.Yes() if key in YES_KEYS else r.No(), where)
                await self._speaker.give(room, row, said, answer)
                return
        elif key in SNOOZE_KEYS and self._allowances.allow(row.heard.sender):
            rule = self._database.read(lambda c: alert_store.rule_of_message(c, said.target))
            if rule is not None:
                await self._speaker.give(room, row, said, await answer_to(r.Snooze(rule), where, self._tools))
                return
        await self._speaker.drop(row)

    def _addressed(self, room: Room, said: Said) -> str | None:
        """What is said to the bot, without its name; None if it is for others."""
        text = without_address(said.body, self._names)
        if text is None and (room.chat_of is not None or said.mentions):
            return said.body
        return text

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
            await self._speaker.drop(row)
            return
        assert isinstance(answer, Done)
        self._tools.people.changed(room_id)
        room = await self._whereabouts.room(room_id)
        if room.chat_of is None and room.place is None:
            text = (
                "Hello. I talk about devices in their own rooms and in direct chats, so that nobody reads what is not"
                " theirs. Start a chat with me alone."
            )
        else:
            text = "Hello, I am the gateway. Ask me about your devices: `status`, `chart temperature 24h`, `help`."
        await self._speaker.give(room, row, Said("member"), Answer(text, with_code(text)))
