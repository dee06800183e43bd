"""Runs on MicroPython: observes /down over one CoapLink and prints, as hex, what comes; and why an observation ended.

Arguments: port, how often to look whether the way is open (ms). On standard input: the hellos (hex) to say one after
another, a line each.
"""

import asyncio
import os
import sys
from binascii import hexlify, unhexlify

from thingroom_node.links import LinkError
from thingroom_node.links.coap import CoapLink


def random_below(limit):
    return int.from_bytes(os.urandom(4), "big") % limit


async def main(port, keep_open_ms, hellos):
    link = CoapLink("127.0.0.1", port, lambda data: print(hexlify(data).decode()), random_below, 500, keep_open_ms)
    for greeting in hellos:
        await link.connect()
        serving = asyncio.create_task(link.serve())
        await link.send_hello(unhexlify(greeting))
        try:
            await serving
        except LinkError as error:
            print(error.reason)


asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.read().split()))
