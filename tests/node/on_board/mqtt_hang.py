"""Runs on MicroPython: one MqttLink with short time-outs against a broker that hangs; prints what ended it.

Arguments: port, what to send ("nothing", "little" or "much"), the authority or "". Ends by itself, whatever
the broker does, or the test that runs it fails.
"""

import asyncio
import sys
import time

from thingroom_node.links import LinkError, mqtt

_, port, what, ca = sys.argv
mqtt.CONNECT_MS = mqtt.CONNECT_TLS_MS = mqtt.WRITE_MS = mqtt.PONG_MS = 700
mqtt.PING_AFTER_MS = 300
mqtt.PUBACK_MS = 1500 if what != "much" else 600_000
mqtt.IN_FLIGHT = 10_000


async def send(link):
    count = {"nothing": 0, "little": 3, "much": 1000}[what]
    for number in range(count):
        await link.send_envelope(number.to_bytes(4, "big") * (1 if what == "little" else 4000))
    await asyncio.sleep_ms(600_000)


async def main():
    began = time.ticks_ms()
    link = mqtt.MqttLink(
        "localhost",
        int(port),
        "0" * 16,
        "user",
        "password",
        print,
        lambda: time.ticks_diff(time.ticks_ms(), began),
        ca=ca or None,
    )
    try:
        await link.connect()
        await asyncio.gather(link.serve(), send(link))
    except LinkError as error:
        print(error.reason)


asyncio.run(main())
