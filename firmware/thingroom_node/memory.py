"""Takes modules out of memory that are needed rarely; the next import loads them again.

What they made stays, as do functions that somebody still holds. May import the standard library.
"""

import sys

# What puts a node together.
FOR_THE_START = (
    "thingroom_node.board_start",
    "thingroom_node.composition",
    "thingroom_node.settings",
    "thingroom_node.hardware",
    "thingroom_node.equipment",
    "thingroom_wire.sha512_portable",
)


def unload(*modules):
    """Forget `modules`, by their full names. On CPython nothing is forgotten: memory is no trouble there."""
    if sys.implementation.name != "micropython":
        return
    for name in modules:
        if name in sys.modules:
            del sys.modules[name]
            at = name.rfind(".")
            parent = sys.modules.get(name[:at])
            if hasattr(parent, name[at + 1 :]):
                delattr(parent, name[at + 1 :])
