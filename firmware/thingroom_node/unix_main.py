"""The file to run on MicroPython's unix port: `micropython unix_main.py /path/to/node.json`.

Finds the firmware folder from its own place, so no MICROPYPATH is needed, and makes failures failures: the port inside
CPython leaves with 0 after an uncaught exception. The composition root is unix_node.py: read it next.
"""

import gc
import sys

# The folder of this file comes first on the path; the packages are one up, and asyncio is frozen into the port.
FIRMWARE = (__file__.rpartition("/")[0] or ".") + "/.."
sys.path[:1] = [FIRMWARE]
if ".frozen" not in sys.path:
    sys.path.append(".frozen")

from thingroom_wire import ed25519  # noqa: E402 - the path had to be set first

# What is compiled leaves much behind: collected often meanwhile, so that it does not scatter what stays.
gc.threshold(16_384)
ed25519.prepare()

from thingroom_node import unix_node  # noqa: E402 - it comes after what needs the most memory

if len(sys.argv) != 2:
    print("usage: unix_main.py NODE.JSON", file=sys.stderr)
    sys.exit(2)
try:
    status = unix_node.start(sys.argv[1])
except Exception as error:
    sys.print_exception(error, sys.stderr)
    status = 1
sys.exit(status)
