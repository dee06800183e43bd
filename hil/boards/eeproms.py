"""The files behind the emulated board's EEPROMs: one littlefs over all of them, seen while the power is off.

The layout is that of storage.c in the port. May import the library of littlefs, which is the same code as on the board.
"""

from __future__ import annotations

from pathlib import Path

from littlefs import LittleFS
from littlefs.context import UserContext

CHIP_BYTES = 65536
FIRST_ADDRESS = 0x50
BLOCK_BYTES = 512
CACHE_BYTES = 256
GRANULE_BYTES = 16


class Eeproms:
    """`chips` image files below `folder`, made empty where they are not there yet."""

    def __init__(self, folder: Path, chips: int) -> None:
        self.images = [folder / f"eeprom{number}.img" for number in range(chips)]
        for image in self.images:
            if not image.exists():
                image.write_bytes(b"\xff" * CHIP_BYTES)

    def devices(self) -> list[str]:
        """QEMU's arguments for the chips."""
        arguments = []
        for number, image in enumerate(self.images):
            arguments += ["-drive", f"if=none,id=eeprom{number},file={image},format=raw"]
            place = f"address={FIRST_ADDRESS + number:#x},rom-size={CHIP_BYTES},drive=eeprom{number}"
            arguments += ["-device", f"at24c-eeprom,{place}"]
        return arguments

    def write(self, path: str, data: bytes) -> None:
        """Put a file onto them; the folders above it are made."""
        device = _Device(b"".join(image.read_bytes() for image in self.images))
        files = _mounted(device)
        if parent := str(Path(path).parent).strip("/"):
            files.makedirs(parent, exist_ok=True)
        with files.open(path, "wb") as file:
            file.write(data)
        files.unmount()
        for number, image in enumerate(self.images):
            image.write_bytes(device.content[number * CHIP_BYTES : (number + 1) * CHIP_BYTES])

    def read(self, path: str) -> bytes:
        """A file's contents. Raises FileNotFoundError."""
        with self._files().open(path, "rb") as file:
            return bytes(file.read())

    def names(self, folder: str = "/") -> list[str]:
        """The names in a folder, sorted. Raises FileNotFoundError."""
        return sorted(self._files().listdir(folder))

    def _files(self) -> LittleFS:
        return _mounted(_Device(b"".join(image.read_bytes() for image in self.images)))


class _Device(UserContext):
    """A block device in memory, for littlefs."""

    def __init__(self, content: bytes) -> None:
        super().__init__(len(content))
        self.content = bytearray(content)

    def read(self, cfg: object, block: int, off: int, size: int) -> bytearray:
        start = block * BLOCK_BYTES + off
        return self.content[start : start + size]

    def prog(self, cfg: object, block: int, off: int, data: bytes) -> int:
        start = block * BLOCK_BYTES + off
        self.content[start : start + len(data)] = data
        return 0

    def erase(self, cfg: object, block: int) -> int:
        return 0

    def sync(self, cfg: object) -> int:
        return 0


def _mounted(device: _Device) -> LittleFS:
    files = LittleFS(
        context=device,
        block_size=BLOCK_BYTES,
        block_count=len(device.content) // BLOCK_BYTES,
        read_size=GRANULE_BYTES,
        prog_size=GRANULE_BYTES,
        cache_size=CACHE_BYTES,
        mount=False,
    )
    try:
        files.mount()
    except Exception:
        files.format()
        files.mount()
    return files
