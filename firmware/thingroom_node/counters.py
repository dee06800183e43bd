"""What must never go back: the boot counter, the reserved sequence numbers, the last link of the chain, the losses.

One small file, replaced atomically. Sequence numbers are reserved in blocks before they are used, so even a storage
that forgets its newest records (a power cut, a dying flash) cannot make a number come twice: after a start the node
goes on behind the block, and the unused rest is *skipped*. May import durable. node.py gives the numbers out.
"""

import struct

from thingroom_node import durable

BLOCK = 32
_LAYOUT = ">QQQQQ8s"


class Counters:
    """`boot` counts starts; numbers up to `reserved` may have been used; `lost` readings were dropped unsent, all of
    them numbered at most `lost_through`; `predecessor` is `(sequence, digest)` as of the last reservation, or None."""

    def __init__(self, path, boot, reserved, lost, lost_through, predecessor):
        self._path = path
        self.boot = boot
        self.reserved = reserved
        self.lost = lost
        self.lost_through = lost_through
        self.predecessor = predecessor

    def reserve(self, sequence, predecessor):
        """Reserve a block of numbers that begins with `sequence`; durable on return. Raises OSError."""
        self.reserved = sequence + BLOCK - 1
        self.predecessor = predecessor
        self._save()

    def declare_loss(self, through, count):
        """Count `count` unsent readings, numbered at most `through`, as lost; durable on return. Raises OSError."""
        self.lost += count
        self.lost_through = through
        self._save()

    def _save(self):
        sequence, digest = self.predecessor or (0, bytes(8))
        layout = (self.boot, self.reserved, self.lost, self.lost_through, sequence, digest)
        durable.write_atomic(self._path, struct.pack(_LAYOUT, *layout))


def open_counters(path, is_new_key):
    """Load the counters and count this boot. Raises StorageError when they are damaged, or missing for a key in use.

    Without them it cannot be known which numbers the key has signed, and a number must never be signed twice.
    """
    data = durable.read_checked(path)
    if data is None:
        if not is_new_key:
            raise durable.StorageError(path + " is missing: the numbers that this key has used are not known.")
        counters = Counters(path, 0, 0, 0, 0, None)
    elif len(data) != struct.calcsize(_LAYOUT):
        raise durable.StorageError(path + " was written by another version.")
    else:
        boot, reserved, lost, lost_through, sequence, digest = struct.unpack(_LAYOUT, data)
        counters = Counters(path, boot, reserved, lost, lost_through, (sequence, digest) if sequence else None)
    counters.boot += 1
    counters._save()
    return counters
