"""Runs on MicroPython: the whole node with real drivers on a fake `machine`, until it has stored two samples.

Argument: a directory. Prints JSON: the events, and what the newest stored envelope tells.
"""

import asyncio
import json
import sys
import time

from tests.node.drivers.buses import told
from tests.node.drivers.cases_bosch import MEASURED, Chip
from tests.node.drivers.cases_lines import Thermometer, rom_of
from tests.node.drivers.fake_machine import PINS, Machine, Modules

from thingroom_node import unix_node
from thingroom_node.counters import open_counters
from thingroom_node.hardware import Hardware
from thingroom_node.outbox import open_outbox
from thingroom_node.settings import parse_settings
from thingroom_wire import senml

CONFIG = {
    "buses": [
        {"kind": "i2c", "name": "i2c0", "id": 0, "scl": 22, "sda": 21},
        {"kind": "onewire", "name": "onewire", "pin": 4},
    ]
}
SENSORS = [
    {"driver": "bme280"},
    {"driver": "ds18b20", "names": {"temperature": "outside"}},
    {"driver": "bme280", "address": 119},
    {"driver": "contact", "pin": 12, "quantity": "open"},
]


class RealClock:
    """Chips that are as slow as real ones."""

    @property
    def now(self):
        return time.ticks_ms()


async def main(directory):
    clock = RealClock()
    chips = {0x76: Chip(clock, 0x60, MEASURED + b"\x75\x30", 16)}
    modules = Modules({rom_of(1): Thermometer(clock, 0x0191)}, b"")
    board = Hardware(CONFIG, Machine("esp32", chips), modules.load)
    settings = {"directory": directory, "profile": "bme280", "host": "127.0.0.1", "port": 1, "interval_ms": 3600000}
    actuators = [{"name": "pump", "driver": "relay", "pin": 5}]
    events = []
    stored = asyncio.Event()

    def emit(event):
        events.append(event)
        if event["event"] == "sampled":
            stored.set()

    node = dict(settings, sensors=SENSORS, actuators=actuators, gateway={"key": KEY, "agreement_key": KEY})
    runner = unix_node.make_runner(parse_settings(json.dumps(node)), emit, board)
    running = asyncio.create_task(runner.run())
    for _ in range(2):
        # The interval is an hour: it is the contact that wakes the node for the second sample.
        await stored.wait()
        stored.clear()
        PINS[12].move(1)
    running.cancel()
    outbox = open_outbox(directory + "/outbox", open_counters(directory + "/counters", False), 16384)
    records = senml.decode_pack(outbox.load_newest()[2]).records
    print(json.dumps({"events": events, "told": told([senml.Record(r.name, r.unit, r.value, 0) for r in records])}))


# The base point of Curve25519, as good a public key as any.
KEY = "5866666666666666666666666666666666666666666666666666666666666666"
asyncio.run(asyncio.wait_for(main(sys.argv[1]), 60))
