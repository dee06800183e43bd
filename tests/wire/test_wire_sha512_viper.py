"""sha512_viper.py computed with words of 32 and of 64 bits, as viper's code has them on boards and on a PC.

The file is read as MicroPython's viper would compile it, with integers that wrap at the word's width. Running the
compiled code itself is test_wire_vectors.py's part, where the words have 64 bits.
"""

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_wire import sha512_portable

SOURCE = Path(sha512_portable.__file__).with_name("sha512_viper.py")


class Memory:
    """viper's ptr8 and ptr32: no bounds to the left or right of what it points to would be checked; here they are."""

    def __init__(self, buffer: Any, bits: int) -> None:
        self._buffer = buffer
        self._mask = (1 << bits) - 1

    def __getitem__(self, index: int) -> int:
        assert index >= 0
        return int(self._buffer[index])

    def __setitem__(self, index: int, value: Any) -> None:
        assert index >= 0
        self._buffer[index] = int(value) & self._mask


def unsigned(bits: int) -> type:
    """viper's uint where a machine word has `bits` bits."""
    mask = (1 << bits) - 1

    def operation(apply: Callable[[int, int], int]) -> Callable[[Any, Any], Any]:
        return lambda self, other: Word(apply(int(self), int(other)))

    class Word:
        def __init__(self, value: Any) -> None:
            self.value = int(value) & mask

        def __int__(self) -> int:
            return self.value

        def __lt__(self, other: Any) -> bool:
            return self.value < int(other)

        __add__ = operation(lambda a, b: a + b)
        __and__ = operation(lambda a, b: a & b)
        __or__ = operation(lambda a, b: a | b)
        __xor__ = operation(lambda a, b: a ^ b)
        __lshift__ = operation(lambda a, b: a << b)
        __rshift__ = operation(lambda a, b: a >> b)

    return Word


def load(bits: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], bytes]:
    kinds: dict[str, Any] = {
        "ptr8": lambda buffer: Memory(buffer, 8),
        "ptr32": lambda buffer: Memory(buffer, 32),
        "uint": unsigned(bits),
    }

    def viper(function: Callable[..., None]) -> Callable[..., None]:
        convert = [kinds.get(name, int) for name in function.__annotations__.values()]

        def call(*arguments: Any) -> None:
            function(*[kind(argument) for kind, argument in zip(convert, arguments, strict=True)])

        return call

    micropython = ModuleType("micropython")
    micropython.viper = viper  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "micropython", micropython)
    namespace: dict[str, Any] = dict(kinds)
    exec(compile("from __future__ import annotations\n" + SOURCE.read_text(), str(SOURCE), "exec"), namespace)
    native = namespace["Sha512"](sha512_portable.INITIAL, sha512_portable.ROUND).hash
    return lambda data: bytes(native(data))


@pytest.mark.parametrize("bits", [32, 64])
def test_it_hashes_with_words_of_either_width(bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = load(bits, monkeypatch)

    @given(st.binary(max_size=300))
    @settings(max_examples=25, deadline=None)
    def agrees_with_hashlib(data: bytes) -> None:
        assert hashed(data) == hashlib.sha512(data).digest()

    agrees_with_hashlib()
    for length in (0, 111, 112, 127, 128, 239, 240):
        assert hashed(b"\xff" * length) == hashlib.sha512(b"\xff" * length).digest()


def test_a_word_wraps_at_its_width() -> None:
    assert int(unsigned(32)(0xFFFFFFFF) + unsigned(32)(1)) == 0
    assert int(unsigned(64)(0xFFFFFFFF) + unsigned(64)(1)) == 1 << 32
    assert int(unsigned(32)(0x3FFFFFFF) << 2 | 3) == 0xFFFFFFFF
