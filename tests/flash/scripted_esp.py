"""An ESP32 of software behind a pseudo-terminal: its ROM's boot loader and the flasher stub, as esptool knows them.

After Espressif's "Serial Protocol" document: SLIP packets, direction, operation, size, check value; status bytes at the
end of an answer, four from a ROM and two from a stub. The flash is a byte array that tests look at.
"""

from __future__ import annotations

import hashlib
import os
import pty
import select
import struct
import threading
import tty
import zlib
from dataclasses import dataclass

FLASH_BYTES = 4 * 1024 * 1024
FLASH_ID = 0x1640EF

SYNC, WRITE_REG, READ_REG = 0x08, 0x09, 0x0A
MEM_BEGIN, MEM_END, MEM_DATA = 0x05, 0x06, 0x07
FLASH_BEGIN, FLASH_DATA, FLASH_END = 0x02, 0x03, 0x04
SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUDRATE = 0x0B, 0x0D, 0x0F
FLASH_DEFL_BEGIN, FLASH_DEFL_DATA, FLASH_DEFL_END = 0x10, 0x11, 0x12
SPI_FLASH_MD5, GET_SECURITY_INFO = 0x13, 0x14
ERASE_FLASH, ERASE_REGION = 0xD0, 0xD1


@dataclass(frozen=True)
class Chip:
    """`magic` is what stands at 0x40001000; `chip_id` what GET_SECURITY_INFO tells, None where a ROM knows it not."""

    magic: int
    chip_id: int | None
    registers: dict[int, int]


# SPI's first data word holds the flash's identity; an ESP32's UART divider tells a crystal of 40 MHz.
CHIPS = {
    "esp32": Chip(
        0x00F01D83, None, {0x3FF42080: FLASH_ID, 0x3FF40014: 347, 0x3FF5A004: 0x11223344, 0x3FF5A008: 0x5566}
    ),
    "esp32c3": Chip(0x1B31506F, 5, {0x60002058: FLASH_ID, 0x60008844: 0x11223344, 0x60008848: 0x5566}),
}


class ScriptedEsp:
    """`with ScriptedEsp("esp32") as esp:` and give esptool the port `esp.port`. Wrong packets end in `surprises`."""

    def __init__(self, chip: str = "esp32", *, listens: bool = True, breaks_after: int | None = None) -> None:
        self._chip = CHIPS[chip]
        self._listens = listens
        self._breaks_after = breaks_after
        self.flash = bytearray(b"\xa5" * FLASH_BYTES)
        self.surprises: list[str] = []
        self.commands: list[int] = []
        self.restarted = False
        self._is_stub = False
        self._registers = dict(self._chip.registers)
        self._offset = self._written = self._left = 0
        self._inflater = zlib.decompressobj()
        self._ended = False

    def __enter__(self) -> ScriptedEsp:
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def _serve(self) -> None:
        packet: bytearray | None = None
        while not self._ended:
            if not select.select([self._master], [], [], 0.05)[0]:
                continue
            for byte in os.read(self._master, 65536):
                if byte != 0xC0:
                    if packet is not None:
                        packet.append(byte)
                elif packet:
                    self._take(bytes(packet).replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb"))
                    packet = None
                else:
                    packet = bytearray()

    def _take(self, packet: bytes) -> None:
        direction, operation, size, check = struct.unpack("<BBHI", packet[:8])
        data = packet[8:]
        if not self._listens:
            return
        if direction != 0 or size != len(data):
            self.surprises.append(f"packet {packet[:16].hex()}")
            return
        self.commands.append(operation)
        if self._breaks_after is not None and self.commands.count(FLASH_DEFL_DATA) > self._breaks_after:
            self._listens = False
            return
        self._carry_out(operation, data, check)

    def _carry_out(self, operation: int, data: bytes, check: int) -> None:
        if operation == SYNC:
            for _ in range(8):
                self._answer(operation, value=0 if self._is_stub else 0x20120707)
        elif operation == READ_REG:
            (address,) = struct.unpack("<I", data)
            value = self._chip.magic if address == 0x40001000 else self._registers.get(address, 0)
            self._answer(operation, value=value)
        elif operation == GET_SECURITY_INFO:
            if self._chip.chip_id is None:
                self._answer(operation, status=b"\x01\x05")
            else:
                self._answer(operation, struct.pack("<IBBBBBBBBII", *(0,) * 9, self._chip.chip_id, 0))
        elif operation == MEM_END:
            self._answer(operation)
            self._is_stub = True
            self._send(b"OHAI")
        elif operation == MEM_DATA:
            self._checked(operation, data, check)
        elif operation in (FLASH_BEGIN, FLASH_DEFL_BEGIN):
            self._left, _, _, self._offset = struct.unpack("<IIII", data[:16])
            self._written = 0
            self._inflater = zlib.decompressobj()
            self._answer(operation)
        elif operation in (FLASH_DATA, FLASH_DEFL_DATA):
            body = self._checked(operation, data, check)
            self._program(self._inflater.decompress(body) if operation == FLASH_DEFL_DATA else body)
        elif operation in (FLASH_END, FLASH_DEFL_END):
            self.restarted = data == b"\0\0\0\0"
            self._answer(operation)
        elif operation == SPI_FLASH_MD5:
            start, size, _, _ = struct.unpack("<IIII", data)
            digest = hashlib.md5(self.flash[start : start + size])
            self._answer(operation, digest.digest() if self._is_stub else digest.hexdigest().encode())
        elif operation == ERASE_FLASH:
            self.flash[:] = b"\xff" * len(self.flash)
            self._answer(operation)
        elif operation == ERASE_REGION:
            start, size = struct.unpack("<II", data)
            self.flash[start : start + size] = b"\xff" * size
            self._answer(operation)
        elif operation in (WRITE_REG, MEM_BEGIN, SPI_SET_PARAMS, SPI_ATTACH, CHANGE_BAUDRATE):
            self._answer(operation)
        else:
            self.surprises.append(f"operation {operation:#x}")
            self._answer(operation, status=b"\x01\x05")

    def _checked(self, operation: int, data: bytes, check: int) -> bytes:
        """The block in a data packet, answered; wrong check values are refused as the ROM refuses them."""
        size = struct.unpack("<I", data[:4])[0]
        body = data[16 : 16 + size]
        expected = 0xEF
        for byte in body:
            expected ^= byte
        if expected != check or len(body) != size:
            self.surprises.append(f"check value of operation {operation:#x}")
            self._answer(operation, status=b"\x01\x07")
        else:
            self._answer(operation)
        return body

    def _program(self, data: bytes) -> None:
        start = self._offset + self._written
        self.flash[start : start + len(data)] = data
        self._written += len(data)

    def _answer(self, operation: int, data: bytes = b"", value: int = 0, status: bytes = b"\0\0") -> None:
        body = data + status + (b"" if self._is_stub else b"\0\0")
        self._send(struct.pack("<BBHI", 1, operation, len(body), value) + body)

    def _send(self, packet: bytes) -> None:
        os.write(self._master, b"\xc0" + packet.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0")
