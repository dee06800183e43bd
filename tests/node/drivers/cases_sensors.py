"""Sensors side by side: waiting together, failing alone. Time is made by hand."""

import asyncio

from tests.node.drivers.buses import told

from thingroom_node.drivers.sensor import Instant, SensorError
from thingroom_node.sensors import SETTLE_MS, Sensors
from thingroom_wire.senml import Record


class Slow:
    """Waits as it is told, then tells one quantity; `failing` counts down the times that it fails."""

    def __init__(self, name, *pauses):
        self._name = name
        self._pauses = pauses
        self.failing = 0
        self.probes = 0

    def probe(self):
        self.probes += 1
        yield 2
        if self.failing:
            self.failing -= 1
            raise SensorError("absent", "no part")

    def measure(self):
        if self.failing:
            self.failing -= 1
            raise SensorError("checksum", "wrong")
        yield from self._pauses
        return [Record(self._name, "Cel", 1, 0)]


class Quick(Instant):
    def __init__(self, name):
        self._name = name

    def read(self):
        return [Record(self._name, None, True, 0)]


class Broken(Instant):
    def read(self):
        raise OSError(5)


class Bench:
    def __init__(self):
        self.events = []
        self.slept = []
        self.sensors = Sensors(self.events.append, self.sleep_ms)

    async def sleep_ms(self, pause):
        self.slept.append(pause)

    def measure(self):
        self.slept = []
        return told(asyncio.run(self.sensors.measure()))


def case_slow_sensors_wait_together():
    bench = Bench()
    bench.sensors.add("a", Slow("a", 750))
    bench.sensors.add("b", Slow("b", 9, 5, 5))
    bench.sensors.add("c", Quick("c"))
    assert bench.measure() == {"a": "1 Cel", "b": "1 Cel", "c": "True"}
    # The first time both are probed, 2 ms.
    assert sum(bench.slept) == 752 and len(bench.slept) == 5
    bench.measure()
    assert bench.slept == [9, 5, 5, 731]
    assert [record.name for record in asyncio.run(bench.sensors.measure())] == ["a", "b", "c"]


def case_one_fails_and_the_others_are_told():
    bench = Bench()
    slow = Slow("a", 10)
    bench.sensors.add("a[0]", slow)
    bench.sensors.add("b[1]", Quick("b"))
    bench.sensors.add("c[2]", Broken())
    bench.measure()
    # A failure of what has worked before is mended at once.
    slow.failing = 1
    assert "a" in bench.measure() and slow.probes == 2 and bench.sensors.failures["a[0]"] == 1
    slow.failing = 2
    assert bench.measure() == {"b": "True"} and bench.sensors.failures["a[0]"] == 3
    assert bench.measure() == {"a": "1 Cel", "b": "True"}
    assert bench.sensors.failures["c[2]"] == 4
    assert [event["kind"] for event in bench.events if event["sensor"] == "a[0]"] == ["checksum", "checksum", "absent"]
    # What goes on failing is not said every time.
    assert [event["count"] for event in bench.events if event["sensor"] == "c[2]"] == [1, 2, 4]
    assert bench.events[0] == {
        "event": "sensor_failed", "sensor": "c[2]", "kind": "bus", "reason": str(OSError(5)), "count": 1
    }  # fmt: skip


def case_a_sensor_that_is_never_ready_is_stopped():
    bench = Bench()
    bench.sensors.add("a", Slow("a", *[60_000] * 4))
    bench.sensors.add("b", Quick("b"))
    assert bench.measure() == {"b": "True"} and bench.events[0]["kind"] == "not_ready"


def case_the_same_quantity_twice_needs_names():
    bench = Bench()
    bench.sensors.add("a", Slow("temperature"))
    bench.sensors.add("b", Slow("temperature"))
    bench.sensors.add("c", Slow("temperature"), {"temperature": "outside"})
    for _ in range(3):
        assert bench.measure() == {"temperature": "1 Cel", "outside": "1 Cel"}
    assert [event["kind"] for event in bench.events] == ["same_name"] and bench.events[0]["sensor"] == "b"


def case_what_needs_no_time_is_read_now():
    bench = Bench()
    bench.sensors.add("a", Slow("a", 10))
    bench.sensors.add("b", Quick("b"))
    bench.sensors.add("c", Broken())
    assert told(bench.sensors.read_now()) == {"b": "True"} and bench.slept == []


def case_a_signal_wakes_the_node_but_not_all_the_time():
    bench = Bench()
    asyncio.run(bench.sensors.watch(None))
    left = [1, 1, 1]
    woken = []

    async def wait():
        if not left:
            raise KeyError
        left.pop()

    bench.sensors.add_signal(wait)
    try:
        asyncio.run(bench.sensors.watch(lambda: woken.append(1)))
    except KeyError:
        assert len(woken) == 3 and bench.slept == [SETTLE_MS] * 3
    else:
        raise AssertionError("it ended")
