"""UF2 files, which a Pico in its boot loader takes as a copy onto a disk: checked block by block. Pure.

After Microsoft's UF2 specification: blocks of 512 bytes with three magic numbers, the number of this block and of all,
and a family id; those of Raspberry Pi's chips are in pico-sdk, boot/uf2.h.
"""

from __future__ import annotations

import struct

BLOCK = 512
_FIRST, _SECOND, _LAST = 0x0A324655, 0x9E5D5157, 0x0AB16F30
_NOT_MAIN_FLASH, _HAS_FAMILY = 0x0001, 0x2000
# rp2350 takes images for its Arm cores in either mode.
FAMILIES = {"rp2040": (0xE48BFF56,), "rp2350": (0xE48BFF59, 0xE48BFF5A, 0xE48BFF5B)}
_NAMES = {0xE48BFF56: "rp2040", 0xE48BFF59: "rp2350", 0xE48BFF5A: "rp2350 (RISC-V)", 0xE48BFF5B: "rp2350"}
# "Absolute": RP2350's erratum 10 makes tools put one such block in front.
_ABSOLUTE = 0xE48BFF57
_FLASH_BEGIN = 0x10000000


def uf2_trouble(data: bytes, chip: str, flash_bytes: int) -> str:
    """Why `data` is no UF2 file for `chip`; "" if it is one."""
    if not data or len(data) % BLOCK:
        return "This is no UF2 file, or one that was cut short: its size is no multiple of 512."
    families: dict[int, int] = {}
    totals: dict[int, int] = {}
    for start in range(0, len(data), BLOCK):
        head = struct.unpack_from("<8I", data, start)
        first, second, flags, address, size, number, total, family = head
        (last,) = struct.unpack_from("<I", data, start + BLOCK - 4)
        if (first, second, last) != (_FIRST, _SECOND, _LAST) or size > 476 or number >= total:
            return f"This is no UF2 file: block {start // BLOCK} is wrong. Download it again."
        if flags & _NOT_MAIN_FLASH:
            continue
        family = family if flags & _HAS_FAMILY else 0
        if family == _ABSOLUTE:
            continue
        if number != families.get(family, 0):
            return f"A block is missing: number {families.get(family, 0)} is not there. Download it again."
        if not _FLASH_BEGIN <= address <= _FLASH_BEGIN + flash_bytes - size:
            return f"Block {number} goes to {address:#x}, where the board has no flash."
        families[family] = number + 1
        totals[family] = total
    wanted = [family for family in families if family in FAMILIES[chip]]
    if not wanted:
        found = ", ".join(_NAMES.get(family, f"{family:#x}") for family in families) or "nothing"
        return f"This image is for {found}, the board has an {chip}. Take the one that `thingroom board show` names."
    if any(families[family] != totals[family] for family in wanted):
        return "The file ends early: not all of its blocks are there. Download it again."
    return ""
