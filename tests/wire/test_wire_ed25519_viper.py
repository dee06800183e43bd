"""ed25519_viper.py on words of 32 bits, as boards have them, with every sum and product held to that width.

The file is read as MicroPython's viper would compile it. Running the compiled code itself, with words of 64 bits, is
test_wire_vectors.py's part.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import nacl.bindings as libsodium
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from thingroom_wire import ed25519, ed25519_comb, ed25519_points

SOURCE = Path(ed25519.__file__).with_name("ed25519_viper.py")
ORDER = ed25519_points.ORDER
scalars = st.integers(0, 2**255 - 1).map(lambda number: number.to_bytes(32, "little"))


class Word(int):
    """A machine word of 32 bits, signed; leaving its range is an error where MicroPython would wrap."""

    def __new__(cls, value: int) -> Word:
        assert -(2**31) <= value < 2**31, f"{value} needs more than 32 bits"
        return super().__new__(cls, value)


def _operation(name: str) -> Callable[[Word, int], Word]:
    of_int = getattr(int, name)
    return lambda self, other: Word(of_int(self, other))


for _name in ("add", "sub", "mul", "and", "or", "xor", "lshift", "rshift"):
    for _side in ("", "r"):
        setattr(Word, f"__{_side}{_name}__", _operation(f"__{_side}{_name}__"))


class Pointer:
    """viper's ptr8 and ptr32: into a buffer, bounds checked. `int(pointer) + bytes` is a pointer further on."""

    def __init__(self, buffer: Any, width: int, at: int = 0) -> None:
        self.buffer = memoryview(buffer).cast("B")
        self.width, self.at = width, at

    def __add__(self, distance: int) -> Pointer:
        return Pointer(self.buffer, self.width, self.at + distance)

    def _where(self, index: int) -> slice:
        start = self.at + index * self.width
        assert 0 <= start <= len(self.buffer) - self.width
        return slice(start, start + self.width)

    def __getitem__(self, index: int) -> Word:
        return Word(int.from_bytes(self.buffer[self._where(index)], "little", signed=self.width == 4))

    def __setitem__(self, index: int, value: int) -> None:
        self.buffer[self._where(index)] = (int(value) & (256**self.width - 1)).to_bytes(self.width, "little")


def pointer_kind(width: int) -> Callable[[Any], Pointer]:
    return lambda what: Pointer(what.buffer, width, what.at) if isinstance(what, Pointer) else Pointer(what, width)


def viper_int(value: Any) -> Any:
    return value if isinstance(value, Pointer) else Word(value)


@pytest.fixture
def secrets(monkeypatch: pytest.MonkeyPatch) -> Any:
    kinds: dict[str, Any] = {"ptr8": pointer_kind(1), "ptr32": pointer_kind(4), "int": viper_int}

    def viper(function: Callable[..., None]) -> Callable[..., None]:
        names = function.__code__.co_varnames[: function.__code__.co_argcount]
        convert = [kinds.get(function.__annotations__.get(name, ""), lambda value: value) for name in names]

        def call(*arguments: Any) -> None:
            function(*[kind(argument) for kind, argument in zip(convert, arguments, strict=True)])

        return call

    micropython = ModuleType("micropython")
    micropython.viper = viper  # type: ignore[attr-defined]
    micropython.const = lambda value: value  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "micropython", micropython)
    namespace: dict[str, Any] = dict(kinds)
    exec(compile("from __future__ import annotations\n" + SOURCE.read_text(), str(SOURCE), "exec"), namespace)
    return namespace["Secrets"](ed25519_comb.TABLES)


@pytest.mark.parametrize("scalar", [ORDER - 1, 2**255 - 1])
def test_multiples_of_the_base_point_stay_in_a_word(secrets: Any, scalar: int) -> None:
    reduced = (scalar % ORDER).to_bytes(32, "little")
    expected = libsodium.crypto_scalarmult_ed25519_base_noclamp(reduced)
    assert secrets.multiply_base(scalar.to_bytes(32, "little")) == expected


def test_scalars_are_reduced_in_a_word(secrets: Any) -> None:
    @given(st.binary(min_size=64, max_size=64))
    @settings(max_examples=20, deadline=None)
    def digests(digest: bytes) -> None:
        assert secrets.reduce(digest) == libsodium.crypto_core_ed25519_scalar_reduce(digest)

    @given(scalars, scalars, scalars)
    @settings(max_examples=20, deadline=None)
    def products(one: bytes, two: bytes, three: bytes) -> None:
        one, three = (libsodium.crypto_core_ed25519_scalar_reduce(each + bytes(32)) for each in (one, three))
        numbers = [int.from_bytes(each, "little") for each in (one, two, three)]
        expected = (numbers[0] * numbers[1] + numbers[2]) % ORDER
        assert secrets.multiply_add(one, two, three) == expected.to_bytes(32, "little")

    digests()
    products()
    for digest in (bytes(64), b"\xff" * 64, ORDER.to_bytes(64, "little"), (ORDER - 1).to_bytes(64, "little")):
        assert secrets.reduce(digest) == libsodium.crypto_core_ed25519_scalar_reduce(digest)


def test_the_largest_limbs_stay_in_a_word(secrets: Any) -> None:
    """Squaring, doubling and subtracting what is as large as a register may hold."""
    namespace = type(secrets).multiply_base.__globals__
    registers, scratch = secrets._registers, secrets._scratch
    largest = [10_099] + [8_191] * 19
    value = sum(limb << 13 * place for place, limb in enumerate(largest))
    for text, expected in (("C=A*A", value * value), ("C=A+A", 2 * value), ("C=B-A", -value), ("C=A-B", value)):
        registers[7 * 20 : 8 * 20] = type(registers)("I", largest)
        registers[8 * 20 : 9 * 20] = type(registers)("I", [0] * 20)
        namespace["_run"](0, scratch, registers, namespace["_program"](text), 1)
        result = registers[9 * 20 : 10 * 20]
        assert result[0] < 10_100 and max(result[1:]) < 8192 + 64
        assert (sum(limb << 13 * place for place, limb in enumerate(result)) - expected) % ed25519_points.P == 0


def test_a_word_is_held_to_its_width() -> None:
    with pytest.raises(AssertionError):
        Word(2**30) + 2**30
    assert Word(-1) >> 31 == -1
