"""Ties the node together: a loop that samples whatever the link does, and a loop that keeps a link and sends.

Sampling ends in the outbox; sending begins there. A reading leaves the outbox only through `_on_answer`, that is, for
an authenticated answer of the pinned gateway. Every notable thing is handed to `emit` as a dict (see unix_node.py).
May import the rest of the node; asyncio is MicroPython's. The decisions: window.py, answers.py, node.py, clock.py.
"""

import asyncio
import os

from thingroom_node import VERSION, identity, memory, node, signs
from thingroom_node.answers import Judge
from thingroom_node.configuration import URGENT
from thingroom_node.linker import random_below
from thingroom_node.links import LinkError, Refused
from thingroom_node.links.backoff import Backoff
from thingroom_node.watchdog import Watchdog
from thingroom_node.window import Window
from thingroom_wire import hello, keys
from thingroom_wire.limits import MAX_HELD

HELLO_EVERY_MS = 3600_000
HELLO_AGAIN_MS = (30_000, 600_000)
RECONNECT_MS = (1_000, 60_000)
# What no attempt to connect, no measurement and no message takes: a loop that is away for longer hangs.
PATIENCE_MS = 300_000


class Runner:
    """`run` samples and sends until the process is killed.

    `own` is the Identity; `gateway` the pinned Gateway or None; `sensors` is a Sensors; `emit` takes event dicts;
    `make_link(username, password, on_answer, pairing)` gives a link (see links/__init__.py); `commander` is a
    Commander. `wifi` has `async connect()`, or is None; `batch` a Batch where samples go
    out together, else None; `tasks` are more coroutines that run as long as the node.
    """

    def __init__(self, settings, own, gateway, clock, counters, outbox, numbering, sensors, make_link, emit, commander):
        self._settings = settings
        self._own = own
        self._gateway = gateway
        self._clock = clock
        self._counters = counters
        self._outbox = outbox
        self._numbering = numbering
        self._sensors = sensors
        self._make_link = make_link
        self._emit = emit
        self._commander = commander
        self._window = Window()
        self._judge = Judge(own.key_id)
        self._news = asyncio.Event()
        self._reconfigured = asyncio.Event()
        self._pairing = None
        self._reconnect = Backoff(random_below, RECONNECT_MS[0], RECONNECT_MS[1])
        self._ask_again = Backoff(random_below, HELLO_AGAIN_MS[0], HELLO_AGAIN_MS[1])
        self._next_hello = 0
        self._quiet_until = 0
        # What the hello says of updates, a Trial of this version, and a Session that fetches the next: None mostly.
        self.update = None
        self.trial = None
        self._session = None
        self.watchdog = Watchdog(clock.uptime)
        self.signs = signs.Signs()
        self.wifi = None
        self.tasks = []
        self.batch = None
        self._is_urgent = False

    async def run(self):
        """Sample and send. Ends only with an exception that is a bug."""
        self.tasks += [self._sample_forever(), self._link_forever(), self._sensors.watch(self._wake)]
        await asyncio.gather(*self.tasks)

    async def _sample_forever(self):
        due = self._clock.uptime()
        while True:
            self.watchdog.promise("sampling", PATIENCE_MS)
            self._sample(await self._sensors.measure())
            interval = self._interval_ms()
            now = self._clock.uptime()
            # What could not be measured in time is not made up: go on with the next due moment that is not past.
            due += interval * max(1, (now - due) // interval + 1)
            self.watchdog.promise("sampling", due - now + PATIENCE_MS)
            try:
                await asyncio.wait_for_ms(self._reconfigured.wait(), due - now)
            except asyncio.TimeoutError:
                continue
            self._reconfigured.clear()
            due = self._clock.uptime()

    def _interval_ms(self):
        return self._commander.configuration.interval_ms or self._settings.interval_ms

    def _sample(self, measured):
        records = self._commander.complete(measured)
        moment = self._clock.now()
        worth = self._commander.is_worth(records, self._interval_ms(), moment.uptime) if records else 0
        is_urgent, self._is_urgent = self._is_urgent or worth == URGENT, False
        if not worth:
            return
        if self.batch is None:
            self._store(records, records, moment, self._counters.boot, 1)
            return
        if not self.batch.has_room(records):
            self.send_batch()
        try:
            self.batch.add(self._counters.boot, moment, records)
            self._commander.kept(records, moment.uptime, ())
        except OSError as error:
            self._storage_failed(error)
            is_urgent = True
        if is_urgent or self.batch.is_due(self._interval_ms()):
            self.send_batch()
        else:
            self._emit({"event": "kept", "samples": self.batch.count})

    def send_batch(self):
        """Make an envelope of the samples that wait."""
        batch = self.batch
        if batch.count and self._store(batch, (), batch.moment, batch.boot, batch.count):
            try:
                batch.clear()
            except OSError as error:
                self._storage_failed(error)

    def _store(self, records, fresh, moment, boot, samples):
        """Number and keep an envelope; the sieve has not heard of `fresh`. Returns whether it is stored."""
        results = self._commander.results
        try:
            numbered = self._numbering.number(records, moment, results, boot)
            loss = self._outbox.append(numbered.sequence, numbered.protected, numbered.payload)
        except OSError as error:
            self._storage_failed(error)
            return False
        self._numbering.chain(numbered)
        try:
            self._commander.kept(fresh, moment.uptime, results)
        except OSError as error:
            self._emit({"event": "storage_failed", "reason": str(error)})
        if loss is not None:
            self._emit({"event": "lost", "range": list(loss)[:2], "count": loss.count, "total": self._counters.lost})
        event = {"event": "sampled", "sequence": numbered.sequence}
        if self.batch is not None:
            event["samples"] = samples
        self._emit(event)
        self._news.set()
        return True

    def _storage_failed(self, error):
        self._emit({"event": "storage_failed", "reason": str(error)})
        self.signs.show(signs.ERROR)

    def _wake(self):
        """Something has changed that is to be measured and told at once."""
        self._is_urgent = True
        self._reconfigured.set()

    async def _link_forever(self):
        while True:
            if self._is_to_be_paired():
                await self._be_paired()
            elif self._gateway is not None:
                password = keys.broker_password(self._gateway.downlink_key)
                link = self._make_link(self._own.kid, password, self._on_answer, False)
                await self._keep(link, self._report, self._is_always)
            else:
                self._emit({"event": "waiting", "for": "a pairing_code or the gateway's keys in node.json"})
                self.signs.state = signs.PAIRING
                self.watchdog.forget("link")
                return

    def _is_to_be_paired(self):
        """Whether the pairing code is one that no gateway has been pinned with yet."""
        code = self._settings.pairing_code
        if not code or self._settings.gateway_key is not None:
            return False
        return self._gateway is None or self._gateway.code_mark != identity.code_mark(code)

    async def _be_paired(self):
        """Keep a link until a gateway is pinned; what that takes is in memory meanwhile only."""
        from thingroom_node.pairing import Pairing

        self._pairing = Pairing(self._settings, self._own, self._emit)
        link = self._make_link("pairing", self._pairing.keys.broker_password, self._on_answer, True)
        await self._keep(link, self._pair, self._is_to_be_paired)
        self._pairing = None
        memory.unload("thingroom_node.pairing")

    async def _go_on_updating(self, link, now):
        """The next step of the update, after all readings. Returns False while it waits for the gateway."""
        from thingroom_node.update.steps import step

        self.watchdog.promise("link", PATIENCE_MS)
        try:
            more = await step(self._session, link, now, self._emit)
        except Refused as error:
            self._emit({"event": "update", "not_taken": error.reason})
            return False
        except OSError as error:
            self._session.outcome = "storage_failed"
            self._emit({"event": "storage_failed", "reason": str(error)})
            more = None
        if more is None:
            self._end_update()
        return more is not False

    def _end_update(self):
        """The update under way has failed; the gateway hears of it at once."""
        counter, outcome = self._session.manifest.counter, self._session.outcome
        self._session.close()
        self._session = None
        self.update = (self.update[0], counter, outcome)
        self._emit({"event": "update", "outcome": outcome})
        self._next_hello = self._clock.uptime()

    def _take_manifest(self, data):
        if self.update is None:
            return
        from thingroom_node.update.steps import begin

        begun = begin(data, self._session, self._own.key_id, self._gateway, self._emit)
        if begun is not None:
            self._session, counter, outcome = begun
            if outcome:
                self.update = (self.update[0], counter, outcome)
                self._next_hello = self._clock.uptime()

    async def _pair(self, link):
        await self._pairing.ask(link, self._hello, self._is_to_be_paired, self._wait_for_pairing)

    async def _wait_for_pairing(self, milliseconds):
        self.watchdog.promise("link", milliseconds + PATIENCE_MS)
        until = self._clock.uptime() + milliseconds
        while self._is_to_be_paired() and (left := until - self._clock.uptime()) > 0:
            try:
                await asyncio.wait_for_ms(self._news.wait(), left)
            except asyncio.TimeoutError:
                return
            self._news.clear()

    def _is_always(self):
        return True

    async def _keep(self, link, work, is_wanted):
        """Keep `link` connected and `work(link)` going on it for as long as it is wanted."""
        while is_wanted():
            pause_ms = 0
            self.signs.state = signs.NO_LINK if work == self._report else signs.PAIRING
            self.watchdog.promise("link", PATIENCE_MS)
            try:
                if self.wifi is not None:
                    await self.wifi.connect()
                await link.connect()
                self._emit({"event": "link", "state": "up"})
                if work == self._report:
                    self.signs.state = signs.WELL
                self._next_hello = 0
                self._window.new_link()
                if self._session is not None:
                    self._session.retry()
                await _until_lost(link.serve(), work(link))
                await link.leave()
            except LinkError as error:
                link.close()
                pause_ms = max(error.pause_ms, self._reconnect.next_ms())
                self._emit({"event": "link", "state": "down", "reason": error.reason, "retry_ms": pause_ms})
            self.watchdog.promise("link", pause_ms + PATIENCE_MS)
            await asyncio.sleep_ms(pause_ms)

    async def _report(self, link):
        """Say hello, then send what the window allows, and wait for something to change."""
        while True:
            now = self._clock.uptime()
            self.watchdog.promise("link", PATIENCE_MS)
            if now >= self._next_hello:
                await self._say_hello(link, now)
                continue
            place = self._window.choose(self._outbox, now) if now >= self._quiet_until else None
            if place is None:
                if self._session is None or not await self._go_on_updating(link, now):
                    await self._wait_for_news(now)
            else:
                await self._send(link, place)
                await asyncio.sleep_ms(0)

    async def _say_hello(self, link, now):
        # Until this one is answered the next is due sooner; `_on_answer` puts it off to an hour.
        self._next_hello = now + self._ask_again.next_ms()
        greeting = hello.encode_hello(self._own.seed, self._hello(False))
        try:
            await link.send_hello(greeting)
        except Refused as error:
            raise LinkError("hello_refused_" + error.reason)

    async def _send(self, link, place):
        stored = self._outbox.load(place)
        if stored is None:
            self._window.drop(place.sequence)
            if self._outbox.settle(place.sequence, place.sequence):
                self._emit({"event": "damaged", "sequence": place.sequence})
            return
        self.signs.show(signs.SENDING)
        envelope = node.sign(self._own, stored[0], stored[1])
        # Noted first: a CoAP answer comes while `send_envelope` still waits.
        self._window.sent(place, self._clock.uptime(), place == self._outbox.newest_pending())
        under_way = False
        try:
            await link.send_envelope(envelope)
            under_way = True
        except Refused as error:
            under_way = True
            self._emit({"event": "not_taken", "sequence": place.sequence, "reason": error.reason})
        finally:
            # Failed, or cancelled because the link is lost: the next link sends it at once.
            if not under_way:
                self._window.drop(place.sequence)

    async def _wait_for_news(self, now):
        wait_ms = self._next_hello - now
        repeat_ms = self._window.wait_ms(now)
        if self._session is not None:
            wait_ms = min(wait_ms, self._session.wait_ms(now))
        if now < self._quiet_until:
            repeat_ms = self._quiet_until - now
        if repeat_ms is not None:
            wait_ms = min(wait_ms, repeat_ms)
        self.watchdog.promise("link", wait_ms + PATIENCE_MS)
        try:
            await asyncio.wait_for_ms(self._news.wait(), max(1, wait_ms))
        except asyncio.TimeoutError:
            return
        self._news.clear()

    def _hello(self, pairing):
        nonce = os.urandom(8)
        uptime = self._clock.uptime()
        self._judge.asked(nonce, uptime)
        self._commander.asked(nonce, uptime)
        return hello.Hello(
            self._own.key_id,
            nonce,
            self._counters.boot,
            uptime,
            self._outbox.waiting,
            VERSION,
            self._settings.profile,
            self._own.public if pairing else None,
            self._own.agreement_public if pairing else None,
            self._settings.name or None if pairing else None,
            self._commander.highest,
            self._outbox.held(MAX_HELD),
            None if pairing else self.update,
        )

    def _on_answer(self, data):
        pairing = self._pairing if self._is_to_be_paired() else None
        key = pairing.keys.gateway if pairing else self._gateway.downlink_key
        now = self._clock.uptime()
        if self._session is not None and self._take_block(data):
            return
        believed = self._judge.judge(data, key, self._numbering.last, now)
        if believed is None:
            self._tell_dropped()
            return
        self._reconnect.reset()
        if believed.time is not None:
            self._learn_time(believed, now)
        if pairing:
            self._gateway = pairing.pin(believed, self._judge) or self._gateway
            if self._is_to_be_paired():
                self._tell_dropped()
            else:
                self._emit({"event": "enrolled"})
        else:
            self._settle(believed, now)
            for command in believed.commands:
                if b"manifest+cbor" in command:
                    self._take_manifest(command)
                else:
                    self._take_command(command)
        self._news.set()

    def _learn_time(self, believed, now):
        if self._clock.learn(believed.time, believed.asked_at):
            self._ask_again.reset()
            self._next_hello = now + HELLO_EVERY_MS
            self._emit({"event": "clock", "state": "synchronised", "round_trip_ms": now - believed.asked_at})

    def _take_command(self, data):
        before = self._commander.configuration
        event = self._commander.take(data, self._gateway.public, self._clock.now())
        if "outcome" in event:
            self._emit(event)
            # The envelope of this sample carries the result; what takes time to measure is not waited for.
            self._sample(self._sensors.read_now())
        elif event["reason"] == "clock_unset":
            self._next_hello = self._clock.uptime()
        elif (count := self._commander.dropped.get(event["reason"], 1)) & (count - 1) == 0:
            self._emit(event)
        if self._commander.configuration is not before:
            self._reconfigured.set()

    def _settle(self, believed, now):
        settled = 0
        if believed.pause:
            self._quiet_until = now + believed.pause
            self._emit({"event": "paused", "reason": "over_quota", "milliseconds": believed.pause})
        for first, last in believed.acknowledged:
            settled += self._outbox.settle(first, last)
            self._window.heard(first, last, now)
            if self.trial is not None:
                self._confirm(last, now)
        if settled:
            self._emit({"event": "acknowledged", "ranges": [list(entry) for entry in believed.acknowledged]})
        for first, last, reason in believed.refused:
            count = self._outbox.settle(first, last)
            self._window.heard(first, last, now)
            if count:
                self._emit({"event": "refused", "range": [first, last], "count": count, "reason": reason})
            settled += count
        if not settled and believed.time is None and not believed.commands and not believed.pause:
            self._judge.drop("nothing_new")

    def _confirm(self, last, now):
        try:
            if not self.trial.acknowledged(last):
                return
        except OSError as error:
            self._emit({"event": "storage_failed", "reason": str(error)})
            return
        self.trial = None
        self.update = (self.update[0], self.update[1], "done")
        self._emit({"event": "confirmed", "version": VERSION})
        self._next_hello = now

    def _take_block(self, data):
        try:
            is_block = self._session.take(data)
        except OSError as error:
            self._session.outcome = "storage_failed"
            self._emit({"event": "storage_failed", "reason": str(error)})
            is_block = True
        if is_block:
            self._news.set()
        return is_block

    def _tell_dropped(self):
        """Say so at the 1st, 2nd, 4th, 8th ... time: whoever floods us must not flood the log."""
        total = sum(self._judge.dropped.values())
        if total & (total - 1) == 0:
            self._emit({"event": "dropped", "total": total, "reasons": self._judge.dropped})


async def _until_lost(serving, working):
    """Run both until `working` is done or either fails; then neither runs. Raises what ended it."""
    ended = asyncio.Event()
    failures = []

    async def watch(coroutine):
        try:
            await coroutine
        except Exception as error:
            failures.append(error)
        ended.set()

    tasks = [asyncio.create_task(watch(serving)), asyncio.create_task(watch(working))]
    try:
        await ended.wait()
    finally:
        for task in tasks:
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                continue
    if failures:
        raise failures[0]
