"""`python -m tests.heap_table`: what the firmware's image weighs and takes of the heap on the unix port, per link.

Prints the rows of the table in docs/boards.md, "Memory". Words have 64 bits: a board takes less.
"""

import json
import tempfile
from pathlib import Path

from tests.micropython_runner import run_file
from tests.node.node_process import node_settings, write_image

LINKS = ("mqtt", "coap", "serial")
PROBE = """
import gc, json, sys
gc.threshold(16384)
gc.collect()
before = gc.mem_alloc()
from thingroom_wire import ed25519
ed25519.prepare()
gc.collect()
signing = gc.mem_alloc() - before
from thingroom_node import memory, unix_node
runner = unix_node.make_runner(unix_node._settings(sys.argv[1]), lambda event: None)
memory.unload(*memory.FOR_THE_START)
gc.collect()
loaded = [name.replace(".", "/") + ".mpy" for name in sys.modules if name.startswith("thingroom")]
print(json.dumps({"signing": signing, "used": gc.mem_alloc() - before, "loaded": loaded}))
"""


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as folder:
        image = write_image(Path(folder) / "image")
        # Private names are short ones there.
        probe = image / "probe.py"
        probe.write_text(PROBE.replace("unix_node._settings(sys.argv[1])", "parse(open(sys.argv[1]).read())"))
        probe.write_text("from thingroom_node.settings import parse_settings as parse\n" + probe.read_text())
        print("| link | .mpy of what stays loaded | heap, of it signing |")
        print("| --- | --- | --- |")
        for link in LINKS:
            settings = Path(folder) / "node.json"
            changes = {"link": link, "actuators": [{"name": "on"}]}
            settings.write_text(json.dumps(node_settings(Path(folder) / link, **changes)))
            told = json.loads(run_file(probe, str(settings)))
            sizes = [image / path for path in told["loaded"]]
            size = sum(path.stat().st_size for path in sizes if path.exists())
            print(f"| {link} | {size:,} | {told['used']:,}, {told['signing']:,} |")


if __name__ == "__main__":
    main()
