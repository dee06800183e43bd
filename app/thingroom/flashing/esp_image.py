"""The head of an ESP32 image (.bin), enough to refuse one for another chip. Pure.

After Espressif's "Firmware Image Format": magic 0xE9, segments, ..., and the chip's number at byte 12. MicroPython's
images begin with the second-stage boot loader, hence with such a head.
"""

from __future__ import annotations

MAGIC = 0xE9
CHIP_IDS = {"esp32": 0, "esp32s2": 2, "esp32c3": 5, "esp32s3": 9, "esp32c2": 12, "esp32c6": 13, "esp32h2": 16}
MAX_SEGMENTS = 16


def image_trouble(data: bytes, chip: str, room: int) -> str:
    """Why `data` cannot go onto `chip` with `room` bytes of flash behind the offset; "" if it can."""
    if len(data) < 24 or data[0] != MAGIC or not 0 < data[1] <= MAX_SEGMENTS:
        return "This is no image for an ESP32 (it does not begin like one). MicroPython's end with .bin, not .uf2."
    number = int.from_bytes(data[12:14], "little")
    if number != CHIP_IDS[chip]:
        found = next((name for name, one in CHIP_IDS.items() if one == number), f"unknown chip {number}")
        return f"This image is for an {found}, the board has an {chip}. Take the one that `thingroom board show` names."
    if len(data) > room:
        return f"This image has {len(data)} bytes, the board's flash has room for {room}."
    return ""
