"""Runs on MicroPython: thousands of readings through everything but the network, and what they cost.

Arguments: a directory, how many readings. Prints JSON: bytes of heap in use after each fifth of the run (collected),
and microseconds per reading for storing, per signature, and per answer.
"""

import gc
import json
import os
import sys
import time

from thingroom_node import durable, identity, node
from thingroom_node.answers import Judge
from thingroom_node.clock import Clock, Uptime
from thingroom_node.counters import open_counters
from thingroom_node.drivers.simulated import Simulated
from thingroom_node.outbox import open_outbox
from thingroom_node.window import Window
from thingroom_wire import downlink, keys

SIGN_EVERY = 100
BACKLOG = 64


def main(directory, count):
    durable.make_directory(directory + "/outbox")
    counters = open_counters(directory + "/counters", True)
    own = identity.open_identity(directory)
    outbox = open_outbox(directory + "/outbox", counters, 16384)
    base_name = keys.base_name(keys.eui64_from_key_id(own.key_id))
    numbering = node.Numbering(own.key_id, base_name, counters, outbox.load_newest())
    clock = Clock(Uptime(time.ticks_ms, time.ticks_diff))
    driver = Simulated("climate", 1)
    window = Window()
    judge = Judge(own.key_id)
    key = bytes(32)
    used = []
    spent = {"store": 0, "sign": 0, "answer": 0}
    for number in range(1, count + 1):
        started = time.ticks_us()
        numbered = numbering.number(driver.read(), clock.now())
        outbox.append(numbered.sequence, numbered.protected, numbered.payload)
        numbering.chain(numbered)
        spent["store"] += time.ticks_diff(time.ticks_us(), started)
        if number % SIGN_EVERY == 0:
            started = time.ticks_us()
            node.sign(own, numbered.protected, numbered.payload)
            spent["sign"] += time.ticks_diff(time.ticks_us(), started)
        if number > BACKLOG:
            place = window.choose(outbox, number)
            if place is None or outbox.load(place) is None:
                raise ValueError("nothing to send")
            window.sent(place, number, False)
            spans = [(place.sequence, place.sequence)]
            data = downlink.encode_answer(key, own.key_id, downlink.Answer(spans, None, None, [], None, None, [], None))
            started = time.ticks_us()
            believed = judge.judge(data, key, numbering.last, number)
            for first, last in believed.acknowledged:
                outbox.settle(first, last)
                window.heard(first, last, number)
            spent["answer"] += time.ticks_diff(time.ticks_us(), started)
        if number % (count // 5) == 0:
            gc.collect()
            used.append(gc.mem_alloc())
    result = {
        "used": used,
        "waiting": outbox.waiting,
        "files": len(os.listdir(directory + "/outbox")),  # noqa: PTH208 - MicroPython has no pathlib
        "store_us": spent["store"] // count,
        "sign_us": spent["sign"] // (count // SIGN_EVERY),
        "answer_us": spent["answer"] // (count - BACKLOG),
    }
    print(json.dumps(result))


main(sys.argv[1], int(sys.argv[2]))
