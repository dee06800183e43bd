"""The two slots of a board, /app/a and /app/b, and the file that says which one runs: /state/slot.

The board's main.py (firmware/flash) reads the same file and chooses. What it holds:

| key | meaning |
|---|---|
| active | the slot that is known to live: a or b |
| trial | the slot that is tried, or nothing |
| tries | how often the one on trial was started |
| reason | why to give it up at the next start, or nothing |
| outcome | what came of the last update: done, or why not |
| counter | of the last update that came to an end or to a trial |
| floor | the number of the greatest version that was confirmed |
| number, patience | of the version on trial: its number, and the seconds that it has for a healthy reading |

May import durable and the standard library.
"""

import json
import os
import sys

from thingroom_node import durable

FIRST = {
    "active": "a",
    "trial": "",
    "tries": 0,
    "reason": "",
    "outcome": "",
    "counter": 0,
    "floor": 0,
    "number": 0,
    "patience": 0,
}
# main.py gives a slot up that was started so often.
GIVEN_UP = 1000
_ARCHITECTURES = (
    "",
    "x86",
    "x64",
    "armv6",
    "armv6m",
    "armv7m",
    "armv7em",
    "armv7emsp",
    "armv7emdp",
    "xtensa",
    "xtensawin",
    "rv32imc",
    "rv64imc",
)


def architecture():
    """What mpy-cross -march calls this machine; nothing where it loads no machine code."""
    kind = getattr(sys.implementation, "_mpy", 0) >> 10 & 15
    return _ARCHITECTURES[kind] if kind < len(_ARCHITECTURES) else ""


def where():
    """`(root, slot)` of this program: the folder that /app is in, and a or b. None where it does not run in a slot."""
    # unix_main.py names its own folder so.
    parts = __file__.replace("/thingroom_node/..", "").rsplit("/", 4)
    if len(parts) < 5 or parts[1] not in ("a", "b") or not parts[0].endswith("/app"):
        return None
    return parts[0][:-4], parts[1]


def other(slot):
    """The slot that does not run."""
    return "b" if slot == "a" else "a"


def read(root, slot):
    """What /state/slot says; where it is missing or damaged: that `slot`, which runs, is the one known to live."""
    state = dict(FIRST, active=slot)
    try:
        stored = durable.read_checked(root + "/state/slot")
        if stored is not None:
            state.update(json.loads(stored))
    except (durable.StorageError, OSError, ValueError):
        pass
    return state


def write(root, state):
    """Durable on return. Raises OSError: then nothing has changed."""
    durable.make_directory(root + "/state")
    durable.write_atomic(root + "/state/slot", json.dumps(state).encode())


def wipe(path):
    """Remove a folder and all that is in it; one that is not there is fine. A generator: it yields after each file."""
    if not durable.exists(path):
        return
    for name in os.listdir(path):
        inner = path + "/" + name
        if os.stat(inner)[0] & 0x4000:
            yield from wipe(inner)
        else:
            os.remove(inner)
            yield
    os.rmdir(path)
