"""What a web page says about itself: its OpenGraph properties, or what can stand in for them.

Pure. Only the beginning of a page is looked at, up to its body, and no longer than a moment: the parser of the
standard library takes quadratic time over some malformed pages. Source: https://ogp.me/. Next: previews.py.
"""

from __future__ import annotations

import codecs
import re
import time
from html.parser import HTMLParser

HTML_TYPES = frozenset({"text/html", "application/xhtml+xml"})
MAX_BYTES = 524_288
MAX_SECONDS = 0.5
MAX_PROPERTIES = 40
MAX_VALUE = 1000
_STEP = 8_192
_CHARSET = re.compile(rb"""<meta[^>]{0,200}charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE)
_SPACES = re.compile(r"\s+")


def read_page(data: bytes, charset: str | None = None) -> dict[str, str]:
    """`og:` properties of the HTML in `data`, the first of each; og:title and og:description always if anything can
    serve as them. `charset` is the Content-Type's."""
    head = _Head()
    text = _decoded(data[:MAX_BYTES], charset)
    until = time.monotonic() + MAX_SECONDS
    for start in range(0, len(text), _STEP):
        head.feed(text[start : start + _STEP])
        if head.over or time.monotonic() > until:
            break
    found = head.properties
    for name, stand_in in (("og:title", head.title), ("og:description", head.description)):
        if name not in found and (value := _tidy(stand_in)):
            found[name] = value
    return found


class _Head(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.properties: dict[str, str] = {}
        self.title = ""
        self.description = ""
        self.over = False
        self._in_title = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.over:
            return
        if tag == "meta":
            self._meta({name: value or "" for name, value in attrs})
        elif tag == "title":
            self._in_title = not self.title
        elif tag == "body":
            self.over = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "title":
            self._in_title = False
        elif tag == "head":
            self.over = True

    def handle_data(self, data: str) -> None:
        if self._in_title and len(self.title) < 4 * MAX_VALUE:
            self.title += data

    def _meta(self, attributes: dict[str, str]) -> None:
        name = (attributes.get("property") or attributes.get("name") or "").strip().lower()
        content = _tidy(attributes.get("content", ""))
        if name == "description":
            self.description = self.description or content
        elif name.startswith("og:") and len(name) <= 64 and content and len(self.properties) < MAX_PROPERTIES:
            self.properties.setdefault(name, content)


def _tidy(text: str) -> str:
    return _SPACES.sub(" ", text[: 4 * MAX_VALUE]).strip()[:MAX_VALUE]


def _decoded(data: bytes, charset: str | None) -> str:
    declared = _CHARSET.search(data[:2048])
    for name in (charset, declared[1].decode("ascii") if declared else None):
        if name and len(name) <= 40:
            try:
                codec = codecs.lookup(name)
                if codec._is_text_encoding and codec.name not in ("idna", "punycode"):
                    return data.decode(name, errors="replace")
            except (LookupError, ValueError):
                continue
    return data.decode("utf-8", errors="replace")
