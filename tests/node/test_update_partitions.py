"""Images for an ESP32's OTA partitions, at a partition that is not one: pieces, resets, damage, a full partition."""

from __future__ import annotations

import hashlib
import random

import pytest

from thingroom_node.update.partitions import BLOCK, PartitionError, PartitionWriter, confirm


class FakePartition:
    """Two partitions as esp32.Partition shows them: `data` is the one that does not run."""

    def __init__(self, blocks: int) -> None:
        self.data = bytearray(b"\x5a" * blocks * BLOCK)
        self.boots_next = self.is_valid = False

    def get_next_update(self) -> FakePartition:
        return self

    def info(self) -> tuple[int, int, int, int, str, bool]:
        return 0, 16, 0x200000, len(self.data), "ota_1", False

    def writeblocks(self, block: int, data: bytes) -> None:
        assert len(data) == BLOCK and (block + 1) * BLOCK <= len(self.data)
        self.data[block * BLOCK : (block + 1) * BLOCK] = data

    def readblocks(self, block: int, buffer: bytearray) -> None:
        buffer[:] = self.data[block * BLOCK : block * BLOCK + len(buffer)]

    def set_boot(self) -> None:
        self.boots_next = True

    def mark_app_valid_cancel_rollback(self) -> None:
        self.is_valid = True


IMAGE = random.Random(1).randbytes(3 * BLOCK + 1234)
DIGEST = hashlib.sha256(IMAGE).digest()


def feed(writer: PartitionWriter, until: int) -> None:
    while writer.offset < until:
        writer.write(IMAGE[writer.offset : min(writer.offset + 512, until)])


def test_an_image_arrives_with_resets_between() -> None:
    seam = FakePartition(8)
    writer = PartitionWriter(seam, len(IMAGE), DIGEST)
    for reset_at in (700, BLOCK, 2 * BLOCK + 511):
        feed(writer, reset_at)
        writer = PartitionWriter(seam, len(IMAGE), DIGEST, resumed=writer.offset)
        assert writer.offset == reset_at // BLOCK * BLOCK
    feed(writer, len(IMAGE))
    writer.finish()
    assert seam.data[: len(IMAGE)] == IMAGE and seam.boots_next and not seam.is_valid
    confirm(seam)
    assert seam.is_valid


def test_what_is_not_whole_or_not_right_does_not_start() -> None:
    seam = FakePartition(4)
    with pytest.raises(PartitionError, match="no_space"):
        PartitionWriter(seam, 4 * BLOCK + 1, DIGEST)
    writer = PartitionWriter(seam, len(IMAGE), DIGEST)
    feed(writer, len(IMAGE) - 1)
    with pytest.raises(PartitionError, match="incomplete"):
        writer.finish()
    feed(writer, len(IMAGE))
    seam.data[5] ^= 1
    with pytest.raises(PartitionError, match="bad_digest"):
        writer.finish()
    assert not seam.boots_next
