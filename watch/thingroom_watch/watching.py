"""A room from where its watcher stopped, live or from history: every event once, oldest first, into a sink.

History is paged backwards, as servers have it, into the journal, and then told from its oldest page on. Whatever is
killed goes on with what the journal has. May import journal, session, sinks, verify. cli.py and library users call it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from thingroom_watch.home import Account
from thingroom_watch.journal import Journal
from thingroom_watch.model import Finding
from thingroom_watch.session import LONG_POLL_MS, TYPES, Event, Session, WatchEnded
from thingroom_watch.sinks import Pair, Sink
from thingroom_watch.trust import RoomTrust
from thingroom_watch.verify import READINGS_TYPE, Verifier

FROM_NOW: Final = -1
FROM_BEGINNING: Final = 0


class Watcher:
    """Of the room that `session` has entered. `since_ms`: Unix time, FROM_BEGINNING or FROM_NOW: counts where the
    journal is new. `saved` is called after a commit that may have changed the trust."""

    def __init__(
        self,
        session: Session,
        journal: Journal,
        sink: Sink,
        trust: RoomTrust,
        since_ms: int,
        saved: Callable[[], None] = lambda: None,
    ) -> None:
        self._session = session
        self._journal = journal
        self._sink = sink
        self._saved = saved
        self._ended = ""
        self.verifier = Verifier(trust, journal.load_devices())
        for known in self.verifier.devices.values():
            trust.see(known.state)
        if not journal.place("since"):
            with journal.commit():
                journal.put(since=str(since_ms), room=session.room_id)
        self._since_ms = int(journal.place("since"))
        if journal.place("room") != session.room_id:
            raise WatchEnded(f"What was written there is of another room, {journal.place('room')}.")

    async def run(self, until_now: bool) -> None:
        """Until all that is there now is told, or for ever. Raises WatchEnded, and what the sink raises."""
        async for _ in self.steps(until_now):
            pass

    async def steps(self, until_now: bool) -> AsyncIterator[None]:
        """The same, with a step after each thing that was done."""
        asked = False
        while True:
            if self._ended:
                raise WatchEnded(self._ended)
            if not self._journal.place("live"):
                await self._begin()
                asked = True
            elif self._journal.place("before"):
                await self._page_back()
            elif (page := self._journal.oldest_page()) is not None:
                number, events = page
                self._tell(events[::-1], lambda number=number: self._journal.drop_page(number))  # type: ignore[misc]
            elif until_now and asked:
                return
            else:
                await self._go_on(0 if until_now else LONG_POLL_MS)
                asked = True
            yield

    async def _begin(self) -> None:
        now = await self._session.sync("", 0)
        events = [event for event in now.events if event.get("type") in TYPES]
        with self._journal.commit():
            if self._since_ms == FROM_NOW:
                states = [event for event in events if event.get("type") != READINGS_TYPE]
                self._journal.put_page([*now.state, *states][::-1])
                self._journal.put(live=now.after)
            else:
                self._journal.put_page(events[::-1])
                oldest = str(events[0].get("event_id", "")) if events else ""
                self._journal.put(live=now.after, before=now.before, after="", oldest=oldest, first="yes")

    async def _page_back(self) -> None:
        journal = self._journal
        page = await self._session.page(journal.place("before"), journal.place("after"))
        oldest = str(page.events[-1].get("event_id", "")) if page.events else journal.place("oldest")
        first, before = bool(journal.place("first")), page.before
        if first and page.events and _sent_ms(page.events[-1]) < self._since_ms:
            before = ""
        states = await self._session.state_at(oldest) if first and not before and oldest else []
        with journal.commit():
            journal.put_page(page.events)
            if states:
                journal.put_page(states)
            journal.put(before=before, oldest=oldest, first="yes" if first and before else "")

    async def _go_on(self, timeout_ms: int) -> None:
        live = self._journal.place("live")
        synced = await self._session.sync(live, timeout_ms)
        events = [event for event in synced.events if event.get("type") in TYPES]
        if synced.limited and synced.before and not synced.ended:
            with self._journal.commit():
                self._journal.put_page(events[::-1])
                self._journal.put(live=synced.after, before=synced.before, after=live)
        elif events or synced.after != live:
            self._tell(events, lambda: self._journal.put(live=synced.after))
        self._ended = synced.ended

    def _tell(self, events: Sequence[Event], done: Callable[[], None]) -> None:
        """Judge events, oldest first; sink, journal and `done` are one transaction."""
        with self._journal.commit():
            pairs: list[Pair] = []
            for event in events:
                if not self._journal.is_new(str(event.get("event_id", ""))):
                    continue
                if event.get("type") == READINGS_TYPE and _sent_ms(event) < self._since_ms:
                    continue
                pairs.append((event, self.verifier.feed(event)))
            if pairs:
                self._sink.write(self._journal, pairs)
                self._journal.save_devices(self.verifier)
            done()
        if pairs:
            self._saved()


def _sent_ms(event: Event) -> int:
    value = event.get("origin_server_ts")
    return value if isinstance(value, int) else 0


class _Kept:
    """A sink that gives away what it got."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def write(self, journal: Journal, pairs: Sequence[Pair]) -> None:
        self.findings += [finding for _, findings in pairs for finding in findings]

    def close(self) -> None:
        pass


async def watch(
    account: Account,
    room: str,
    *,
    since_ms: int = FROM_NOW,
    until_now: bool = False,
    trust: RoomTrust | None = None,
) -> AsyncIterator[Finding]:
    """What is found in a room, oldest first: judged readings, gaps, news about keys.

    `since_ms`: Unix time, FROM_BEGINNING or FROM_NOW. `until_now`: end with what is there. `trust`: pinned keys, and
    what is known from earlier times; it is changed. Raises WatchEnded when the account is not let into the room, or
    not any more.
    """
    journal, kept = Journal(None), _Kept()
    async with Session(account) as session:
        await session.enter(room)
        watcher = Watcher(session, journal, kept, trust or RoomTrust(), since_ms)
        async for _ in watcher.steps(until_now):
            findings, kept.findings = kept.findings, []
            for finding in findings:
                yield finding
