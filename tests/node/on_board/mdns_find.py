"""Runs on MicroPython: looks HOST up by asking the responder at GROUP PORT, and prints the address and port found.

A last argument, if there is one, is how long to wait for the first answer, in milliseconds.
"""

import asyncio
import sys

from thingroom_node.links import LinkError, mdns

group, port, host, protocol = sys.argv[1:5]
if len(sys.argv) > 5:
    mdns.FIRST_WAIT_MS = int(sys.argv[5])
try:
    print(*asyncio.run(mdns.find(host, 1883, protocol, (group, int(port)))))
except LinkError as error:
    print(error.reason)
