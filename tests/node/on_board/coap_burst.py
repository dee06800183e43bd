"""Runs on MicroPython: sends numbered messages over one CoapLink and prints the answers, and the failures, as JSON.

Arguments: port, how many, the acknowledgement time-out in milliseconds.
"""

import asyncio
import json
import os
import sys

from thingroom_node.links import LinkError
from thingroom_node.links.coap import CoapLink


def random_below(limit):
    return int.from_bytes(os.urandom(4), "big") % limit


async def main(port, count, ack_timeout_ms):
    answers = []
    failures = []
    link = CoapLink("127.0.0.1", port, lambda data: answers.append(data.decode()), random_below, ack_timeout_ms)
    try:
        await link.connect()
    except LinkError as error:
        print(json.dumps({"answers": [], "failures": [error.reason], "ignored": link.ignored}))
        return
    serving = asyncio.create_task(link.serve())
    for number in range(count):
        try:
            await link.send_envelope(f"message {number}".encode())
        except LinkError as error:
            failures.append(error.reason)
    serving.cancel()
    link.close()
    print(json.dumps({"answers": answers, "failures": failures, "ignored": link.ignored}))


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
