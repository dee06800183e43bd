"""The node on a real board, and on the emulated one: `main()` is what the board's own main.py calls.

It runs for ever and prints one JSON object a line for every event. What cannot be helped by a restart (settings,
damaged files) is said again and again; anything else ends in a reset. board_start.py puts the node together: read it
next.
"""

import asyncio
import gc
import sys

from thingroom_node import board, memory
from thingroom_node.console import emit
from thingroom_wire import ed25519

# Long enough to be read on a console, and for an owner to send better settings.
PAUSE_MS = 30_000


def _runner():
    from thingroom_node.board_start import make_runner

    return make_runner()


def main():
    """Run the node; does not return."""
    from thingroom_node.durable import StorageError
    from thingroom_node.errors import SettingsError

    try:
        gc.threshold(8192)
        ed25519.prepare()
        runner = _runner()
        memory.unload(*memory.FOR_THE_START)
        gc.collect()
        gc.threshold(-1)
        asyncio.run(runner.run())
    except (SettingsError, StorageError) as error:
        emit({"event": "stopped", "reason": str(error)})
        board.pause(PAUSE_MS)
    except Exception as error:
        sys.print_exception(error)
        board.pause(1000)
    board.reset()
