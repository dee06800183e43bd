"""Runs on MicroPython in a small heap: reads datagrams in hex, one a line, and counts what comes of them.

Argument: the file. Prints JSON: how many were answers, how many not, and what a search made of all of them.
"""

import json
import sys
from binascii import unhexlify

from thingroom_node.links import mdns

counts = {"answers": 0, "refused": 0}
search = mdns.Search("auto", 1, "_tcp")
with open(sys.argv[1]) as file:  # noqa: PTH123 - MicroPython has no pathlib
    for line in file:
        try:
            _, records = mdns.parse(unhexlify(line.strip()))
        except mdns.MessageError:
            counts["refused"] += 1
        else:
            counts["answers"] += 1
            search.take(records)
            search.step()
counts["step"] = search.step()
print(json.dumps(counts))
