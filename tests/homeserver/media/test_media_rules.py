"""The content repository's pure parts: names, ranges, presentation, thumbnail sizes, legacy paths."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_homeserver.media.byte_range import Part, Unsatisfiable, wanted_range
from thingroom_homeserver.media.legacy import serves_legacy
from thingroom_homeserver.media.mxc import mxc_of, parse_mxc
from thingroom_homeserver.media.presentation import content_type_of, disposition_of
from thingroom_homeserver.media.thumbnail_size import ThumbnailSize, listed_size, plan


@pytest.mark.parametrize(
    ("server", "media_id"),
    [
        ("localhost", ".."),
        ("localhost", "a/b"),
        ("localhost", "a.b"),
        ("localhost", ""),
        ("localhost", "a\n"),
        ("localhost", "ü"),
        ("..", "../../x"),
        ("a/b", "x"),
        ("", "x"),
        ("localhost", "x" * 256),
    ],
)
def test_what_is_no_mxc_uri_names_nothing(server: str, media_id: str):
    assert mxc_of(server, media_id) is None


@given(st.text(max_size=40))
def test_an_mxc_uri_that_is_accepted_is_written_the_same_way(text: str):
    mxc = parse_mxc("mxc://" + text)
    assert mxc is None or str(mxc) == "mxc://" + text
    assert parse_mxc("mxc://example.org:8448/Ab_-9") is not None


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        (None, None),
        ("bytes=0-0", Part(0, 0)),
        ("bytes=2-", Part(2, 9)),
        ("bytes=-3", Part(7, 9)),
        ("bytes=-30", Part(0, 9)),
        ("bytes=5-100", Part(5, 9)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=5-4", None),
        ("bytes=0-1,3-4", None),
        ("bytes=-", None),
        ("lines=0-1", None),
        ("bytes=٣-", None),
    ],
)
def test_ranges_of_ten_bytes(header: str | None, wanted: object):
    assert wanted_range(header, 10) == wanted


@given(
    st.integers(0, 50),
    st.one_of(
        st.text(max_size=30),
        st.tuples(st.integers(0, 60) | st.just(""), st.integers(0, 60) | st.just("")).map(
            lambda pair: f"bytes={pair[0]}-{pair[1]}"
        ),
    ),
)
def test_a_wanted_part_lies_within_the_file(size: int, header: str):
    wanted = wanted_range(header, size)
    if isinstance(wanted, Part):
        assert 0 <= wanted.first <= wanted.last < size
        assert wanted.length == len(range(size)[wanted.first : wanted.last + 1])


@pytest.mark.parametrize(
    ("content_type", "name", "disposition"),
    [
        ("image/png", None, "inline"),
        ("Text/Plain; charset=utf-8", "a b.txt", 'inline; filename="a b.txt"'),
        ("text/html", "x.html", 'attachment; filename="x.html"'),
        ("image/svg+xml", 'q"\\.svg', 'attachment; filename="q\\"\\\\.svg"'),
        ("application/pdf", "Küche\r\n.pdf", "attachment; filename*=utf-8''K%C3%BCche%0D%0A.pdf"),
    ],
)
def test_only_safe_types_are_shown_inline(content_type: str, name: str | None, disposition: str):
    assert disposition_of(content_type, name) == disposition


@given(st.text(max_size=50), st.text(max_size=50))
def test_headers_are_one_line_whatever_is_sent(content_type: str, name: str):
    for header in (content_type_of(content_type), disposition_of(content_type_of(content_type), name)):
        assert header.isascii()
        assert header.isprintable() or "\t" in header
        assert "\n" not in header


def test_content_types():
    assert content_type_of("text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    for odd in (None, "", "x", "a/b/c", "text/html\r\nX: y", "a/b; ü", "a/" + "b" * 300):
        assert content_type_of(odd) == "application/octet-stream"


sides = st.integers(1, 5000)


@given(sides, sides, st.sampled_from(["crop", "scale"]))
def test_listed_sizes_are_few_and_not_smaller_than_asked(width: int, height: int, method):
    size = listed_size(width, height, method)
    assert size.width >= width
    assert size.height >= height
    assert listed_size(size.width, size.height, method) == size


def test_there_are_few_sizes_in_all():
    grid = range(1, 2400, 37)
    assert len({listed_size(w, h, "scale") for w in grid for h in grid}) <= 7
    assert len({listed_size(w, h, "crop") for w in grid for h in grid}) <= 7 * 13


@given(sides, sides, sides, sides, st.sampled_from(["crop", "scale"]))
def test_a_plan_never_enlarges_and_stays_inside(width: int, height: int, wide: int, high: int, method):
    made = plan(listed_size(wide, high, method), width, height)
    left, top, right, bottom = made.box
    assert made.scaled[0] <= width
    assert made.scaled[1] <= height
    assert 0 <= left < right <= made.scaled[0]
    assert 0 <= top < bottom <= made.scaled[1]
    if method == "crop":
        assert made.size[0] >= min(wide, width)
        assert made.size[1] >= min(high, height)
    else:
        assert made.size[0] >= min(wide, width) or made.size[1] >= min(high, height)


def test_examples_of_plans():
    assert listed_size(32, 32, "crop") == ThumbnailSize(32, 32, "crop")
    assert listed_size(320, 240, "scale") == ThumbnailSize(320, 240, "scale")
    assert plan(listed_size(640, 480, "scale"), 1000, 500).size == (640, 320)
    assert plan(listed_size(96, 96, "crop"), 1000, 500).size == (96, 96)
    assert plan(listed_size(800, 600, "scale"), 10, 20).size == (10, 20)


@pytest.mark.parametrize(
    ("hosts", "behind_proxy", "public_host", "serves"),
    [
        (["127.0.0.1", "::1", "localhost", "192.168.1.5"], False, None, True),
        (["127.0.0.1"], True, None, False),
        (["127.0.0.1"], False, "matrix.example.org", False),
        (["127.0.0.1"], False, "10.0.0.2", True),
        (["0.0.0.0"], False, None, False),
        (["::"], False, None, False),
        (["127.0.0.1", "8.8.8.8"], False, None, False),
        (["home.example.org"], False, None, False),
    ],
)
def test_legacy_paths_serve_on_private_networks(hosts, behind_proxy: bool, public_host: str | None, serves: bool):
    assert serves_legacy("auto", hosts, behind_proxy=behind_proxy, public_host=public_host) is serves
    assert serves_legacy("on", hosts, behind_proxy=behind_proxy, public_host=public_host)
    assert not serves_legacy("off", hosts, behind_proxy=behind_proxy, public_host=public_host)
