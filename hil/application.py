"""What is frozen into the emulated board: the whole firmware, compiled, as a board has it in flash."""

from __future__ import annotations

from pathlib import Path

from hil import build

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"
PACKAGES = ("thingroom_wire", "thingroom_node")
MAIN = "from thingroom_node import board_main\n\nboard_main.main()\n"


def application(main: str = MAIN) -> dict[str, bytes]:
    """The firmware's files by path, and `main` as the program that the board runs. Raises build.BuildError."""
    sources = [source for package in PACKAGES for source in sorted((FIRMWARE / package).rglob("*.py"))]
    files = {str(source.relative_to(FIRMWARE).with_suffix(".mpy")): build.compiled(source) for source in sources}
    return {"main.mpy": build.compiled_text("main.py", main), **files}
