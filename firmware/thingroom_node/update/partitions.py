"""Whole images of MicroPython on an ESP32, by its OTA partitions: written to the one that does not run, then tried.

`seam` is esp32.Partition(Partition.RUNNING), or a test's: it has `get_next_update()`, whose result has `info()` (its
size in bytes at index 3), `writeblocks(block, data)`, `readblocks(block, buffer)` and `set_boot()`; and it has
`mark_app_valid_cancel_rollback()`. A boot loader that was built with rollback goes back by itself when an image does
not mark itself valid before its next reset. This never ran on hardware. May import the standard library only.
"""

from hashlib import sha256

BLOCK = 4096


class PartitionError(Exception):
    """The image cannot be written; `reason` is a snake_case word."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason


class PartitionWriter:
    """Takes an image of `size` bytes whose SHA-256 is `digest`, in pieces, in order; holds one block in memory.

    `resumed` is how many bytes an earlier run wrote: whole blocks of them are still there.
    """

    def __init__(self, seam, size, digest, resumed=0):
        self._target = seam.get_next_update()
        if size > self._target.info()[3]:
            raise PartitionError("no_space")
        self._size = size
        self._digest = digest
        self._block = bytearray(BLOCK)
        self._filled = 0
        self._next = min(resumed, size) // BLOCK

    @property
    def offset(self):
        """Where the next piece belongs."""
        return self._next * BLOCK + self._filled

    def write(self, data):
        """The next piece. What is no whole block yet is lost in a reset. Raises OSError."""
        at = 0
        while at < len(data):
            take = min(len(data) - at, BLOCK - self._filled)
            self._block[self._filled : self._filled + take] = data[at : at + take]
            self._filled += take
            at += take
            if self._filled == BLOCK:
                self._flush()

    def _flush(self):
        self._target.writeblocks(self._next, self._block)
        self._next += 1
        self._filled = 0

    def finish(self):
        """Check what stands in the partition, and have it started next. Raises PartitionError, OSError."""
        if self.offset != self._size:
            raise PartitionError("incomplete")
        if self._filled:
            for place in range(self._filled, BLOCK):
                self._block[place] = 0xFF
            self._flush()
        digest = sha256()
        left = self._size
        for number in range(self._next):
            self._target.readblocks(number, self._block)
            digest.update(self._block[: min(left, BLOCK)])
            left -= BLOCK
        if digest.digest() != self._digest:
            raise PartitionError("bad_digest")
        self._target.set_boot()


def confirm(seam):
    """This image lives: the boot loader keeps it."""
    seam.mark_app_valid_cancel_rollback()
