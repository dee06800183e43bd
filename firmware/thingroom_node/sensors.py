"""Runs the node's sensors side by side, and keeps a sensor that fails from stopping anything.

A driver's generators say how long they have nothing to do (see drivers/__init__.py); all wait at the same time, and the
node sleeps meanwhile. Nothing here knows a bus. equipment.py fills it, runner.py asks it.
"""

from thingroom_node.drivers.sensor import SensorError
from thingroom_wire.senml import Record

# What no measurement takes, however slow the sensor: a driver beyond it is stopped.
MAX_WAIT_MS = 180_000
# A contact that chatters wakes the node that often at most.
SETTLE_MS = 500


class Sensors:
    """`emit` takes event dicts; `sleep_ms` is asyncio's."""

    def __init__(self, emit, sleep_ms):
        self._emit = emit
        self._sleep_ms = sleep_ms
        self._entries = []
        self._signals = []
        # How often each has failed, by its label.
        self.failures = {}

    def add(self, label, driver, names=None):
        """A sensor. `names` maps its quantities to those that the node tells: two thermometers need two names."""
        self._entries.append(_Entry(label, driver, names or {}))

    def add_signal(self, wait):
        """`wait()` is a coroutine that ends when something has changed that is worth a sample at once."""
        self._signals.append(wait)

    async def measure(self):
        """The records of all that could be measured, in the order of the settings."""
        told = [[] for _ in self._entries]
        # When each is due, in milliseconds from now as far as was waited for.
        running = [[0, place, self._steps(entry)] for place, entry in enumerate(self._entries)]
        now = 0
        while running:
            following = min(running, key=_due)
            due, place, steps = following
            if due > now:
                await self._sleep_ms(due - now)
                now = due
            try:
                following[0] = now + next(steps)
                if following[0] > MAX_WAIT_MS:
                    raise SensorError("not_ready", "the sensor takes too long")
            except StopIteration as stop:
                told[place] = stop.value
                running.remove(following)
            except OSError as error:
                self._failed(self._entries[place], error)
                running.remove(following)
        return self._together(told)

    def read_now(self):
        """The records of those that need no time; the others are left out."""
        told = []
        for entry in self._entries:
            records = []
            if hasattr(entry.driver, "read"):
                try:
                    records = entry.driver.read()
                except OSError as error:
                    self._failed(entry, error)
            told.append(records)
        return self._together(told)

    async def watch(self, wake):
        """Call `wake()` whenever one of the signals says so; ends at once where there are none."""
        if not self._signals:
            return
        import asyncio

        await asyncio.gather(*[self._watch_one(wait, wake) for wait in self._signals])

    async def _watch_one(self, wait, wake):
        while True:
            await wait()
            wake()
            await self._sleep_ms(SETTLE_MS)

    def _steps(self, entry):
        """Probe if need be, and measure; what fails after it has worked before is tried once more from the start."""
        if entry.is_known:
            try:
                records = yield from entry.driver.measure()
                entry.in_a_row = 0
                return records
            except OSError as error:
                self._failed(entry, error)
        yield from entry.driver.probe()
        records = yield from entry.driver.measure()
        entry.is_known = True
        entry.in_a_row = 0
        return records

    def _failed(self, entry, error):
        """Count it; say so at the 1st, 2nd, 4th, 8th ... time in a row."""
        entry.is_known = False
        entry.in_a_row += 1
        self.failures[entry.label] = self.failures.get(entry.label, 0) + 1
        if entry.in_a_row & (entry.in_a_row - 1) == 0:
            self._say(entry, error.reason if isinstance(error, SensorError) else "bus", str(error))

    def _say(self, entry, kind, reason):
        count = self.failures.get(entry.label, 0)
        event = {"event": "sensor_failed", "sensor": entry.label, "kind": kind, "reason": reason, "count": count}
        self._emit(event)

    def _together(self, told):
        records = []
        names = set()
        for entry, own in zip(self._entries, told):
            for record in own:
                name = entry.names.get(record.name, record.name)
                if name in names:
                    if not entry.has_rival:
                        entry.has_rival = True
                        self._say(entry, "same_name", "another sensor tells {}: give it a name".format(name))
                    continue
                names.add(name)
                records.append(record if name == record.name else Record(name, record.unit, record.value, record.time))
        return records


class _Entry:
    def __init__(self, label, driver, names):
        self.label = label
        self.driver = driver
        self.names = names
        self.is_known = False
        self.in_a_row = 0
        self.has_rival = False


def _due(running):
    # The first of the settings' order where several are due.
    return running[0], running[1]
