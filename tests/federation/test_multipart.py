"""The reader of multipart bodies: whole and in pieces it finds the same, and what it is fed never breaks it."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.federation.multipart import (
    Malformed,
    MultipartReader,
    PartBegins,
    PartBytes,
    PartEnds,
    boundary_of,
    file_name_of,
)

BOUNDARY = "b0"
PART = st.tuples(
    st.dictionaries(st.sampled_from(["a", "content-type", "x-y"]), st.from_regex(r"[!-~]{1,12}", fullmatch=True)),
    st.one_of(st.binary(max_size=60), st.sampled_from([b"\r\n", b"\r\n--b", b"\r\n--b1", b"--b0", b"\r\n\r\n--"])),
)


def encoded(parts: list[tuple[dict[str, str], bytes]]) -> bytes:
    body = b""
    for headers, content in parts:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        body += f"--{BOUNDARY}\r\n{lines}\r\n".encode() + content + b"\r\n"
    return body + f"--{BOUNDARY}--".encode()


def read(pieces: list[bytes]) -> tuple[list[tuple[dict[str, str], bytes]], bool]:
    reader = MultipartReader(BOUNDARY)
    parts: list[tuple[dict[str, str], bytes]] = []
    ended = 0
    for piece in pieces:
        for found in reader.feed(piece):
            if isinstance(found, PartBegins):
                parts.append((dict(found.headers), b""))
            elif isinstance(found, PartBytes):
                parts[-1] = (parts[-1][0], parts[-1][1] + found.data)
            else:
                assert isinstance(found, PartEnds)
                ended += 1
                assert ended == len(parts)
    return parts, reader.is_complete


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


@given(
    st.lists(PART.filter(lambda part: b"\r\n--b0" not in b"\r\n" + part[1]), min_size=1, max_size=3), st.integers(1, 50)
)
def test_what_was_put_in_comes_out(parts: list[tuple[dict[str, str], bytes]], size: int):
    assert read(cut(encoded(parts), size)) == (parts, True)


@given(st.binary(max_size=300), st.integers(1, 40))
def test_bytes_of_any_kind_are_read_or_refused(data: bytes, size: int):
    for body in (data, b"--b0\r\n" + data, b"--b0\r\n\r\n" + data):
        with contextlib.suppress(Malformed):
            read(cut(body, size))


@given(st.text(max_size=60))
def test_headers_of_any_kind_are_read_or_refused(text: str):
    assert boundary_of(text) is None or boundary_of(text)
    for value in (text, f"attachment; {text}", f'inline; filename="{text}"', f"inline; filename*={text}"):
        name = file_name_of(value)
        assert name is None or name.isprintable()


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="a;b \\"c\\".txt"', 'a;b "c".txt'),
        ("inline; filename*=utf-8''g%C3%A4rten.png", "gärten.png"),
        ("inline", None),
        ("inline; filename=x.png", "x.png"),
        ('inline; filename="a\tb"', "ab"),
        ("inline; filename*=nonsense''x", "x"),
    ],
)
def test_file_names(disposition: str, name: str | None):
    assert file_name_of(disposition) == name


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/mixed; boundary=x", "x"),
        ('Multipart/Mixed; charset=utf-8; boundary="a b:c"', "a b:c"),
        ("multipart/mixed", None),
        ("multipart/form-data; boundary=x", None),
        ("multipart/mixed; boundary=" + "x" * 300, None),
        ('multipart/mixed; boundary="ü"', None),
        ("", None),
    ],
)
def test_boundaries(content_type: str, boundary: str | None):
    assert boundary_of(content_type) == boundary
