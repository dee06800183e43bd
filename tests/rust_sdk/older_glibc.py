"""Makes a shared library that was linked with glibc 2.38 loadable where glibc is older.

Compilers give programs `__isoc23_sscanf` and `__isoc23_strtol` (GLIBC_2.38) for `sscanf` and `strtol`, which every
glibc has: they differ in reading "0b1". Of the library's dynamic symbol table (System V ABI, chapter 5; "Symbol
Versioning" in the LSB) only the names that it asks for are changed, none of its code. Imports the standard library.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

PREFIX = b"__isoc23_"
TOO_NEW = b"GLIBC_2.38"
SHT_DYNSYM, SHT_GNU_VERNEED, SHT_GNU_VERSYM = 11, 0x6FFFFFFE, 0x6FFFFFFF
SYMBOL_SIZE = 24
WEAK = 2
"""Of a needed version: its absence is no error."""
UNVERSIONED = 1
"""Of a symbol: the library's default version will do."""


@dataclass(frozen=True)
class _Section:
    kind: int
    offset: int
    size: int
    link: int
    info: int


def without_c23_functions(library: bytes) -> bytes:
    """The library with `sscanf` for `__isoc23_sscanf`, and so on. Raises ValueError if that does not make it loadable.

    `library` must be ELF, 64 bits, little-endian.
    """
    if library[:6] != b"\x7fELF\x02\x01":
        raise ValueError("not a 64-bit little-endian ELF file")
    found = bytearray(library)
    sections = list(_sections(library))
    symbols = _only(sections, SHT_DYNSYM)
    versions, needed = _only(sections, SHT_GNU_VERSYM), _only(sections, SHT_GNU_VERNEED)
    names = sections[symbols.link].offset
    too_new = set(_too_new(found, needed, names))
    for index in range(symbols.size // SYMBOL_SIZE):
        version_at = versions.offset + 2 * index
        (version,) = struct.unpack_from("<H", found, version_at)
        if version not in too_new:
            continue
        symbol_at = symbols.offset + SYMBOL_SIZE * index
        (name,) = struct.unpack_from("<I", found, symbol_at)
        if not _text(library, names + name).startswith(PREFIX):
            raise ValueError(f"{_text(library, names + name)!r} is new in {TOO_NEW!r}")
        struct.pack_into("<I", found, symbol_at, name + len(PREFIX))
        struct.pack_into("<H", found, version_at, UNVERSIONED)
    return bytes(found)


def _too_new(found: bytearray, needed: _Section, names: int) -> Iterator[int]:
    """The indices by which symbols ask for GLIBC_2.38; the library no longer insists on it."""
    at = needed.offset
    for _ in range(needed.info):
        _version, count, _file, first, following = struct.unpack_from("<HHIII", found, at)
        entry = at + first
        for _ in range(count):
            _hash, flags, index, name, next_entry = struct.unpack_from("<IHHII", found, entry)
            if _text(found, names + name) == TOO_NEW:
                struct.pack_into("<H", found, entry + 4, flags | WEAK)
                yield index
            entry += next_entry
        at += following


def _sections(library: bytes) -> Iterator[_Section]:
    (start,) = struct.unpack_from("<Q", library, 0x28)
    size, count = struct.unpack_from("<HH", library, 0x3A)
    for number in range(count):
        fields = struct.unpack_from("<IIQQQQIIQQ", library, start + number * size)
        yield _Section(kind=fields[1], offset=fields[4], size=fields[5], link=fields[6], info=fields[7])


def _only(sections: list[_Section], kind: int) -> _Section:
    (section,) = (section for section in sections if section.kind == kind)
    return section


def _text(data: bytes | bytearray, at: int) -> bytes:
    return bytes(data[at : data.index(0, at)])
