"""Runs on MicroPython: looks HOST up by asking the responder at GROUP PORT, and prints the address and port found."""

import asyncio
import sys

from thingroom_node.links import LinkError, mdns

_, group, port, host, protocol = sys.argv
try:
    print(*asyncio.run(mdns.find(host, 1883, protocol, (group, int(port)))))
except LinkError as error:
    print(error.reason)
