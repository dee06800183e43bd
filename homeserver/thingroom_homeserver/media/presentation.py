"""How a file presents itself: content type, Content-Disposition, and the headers that keep browsers from running it.

Pure. Sources: client-server API, "Content repository" and "Serving inline content"; RFC 6266; RFC 8187.
Next: client_api/media_answer.py.
"""

from __future__ import annotations

import re
from urllib.parse import quote

DEFAULT_TYPE = "application/octet-stream"
MAX_FILE_NAME = 1000
"""Characters of a file name that are accepted."""

INLINE_TYPES = frozenset(
    {
        *("text/css", "text/plain", "text/csv", "application/json", "application/ld+json"),
        *("image/jpeg", "image/gif", "image/png", "image/apng", "image/webp", "image/avif"),
        *("video/mp4", "video/webm", "video/ogg", "video/quicktime"),
        *("audio/mp4", "audio/webm", "audio/aac", "audio/mpeg", "audio/ogg", "audio/wave", "audio/wav"),
        *("audio/x-wav", "audio/x-pn-wav", "audio/flac", "audio/x-flac"),
    }
)
PROTECTION = {
    "Content-Security-Policy": (
        "sandbox; default-src 'none'; script-src 'none'; plugin-types application/pdf;"
        " style-src 'unsafe-inline'; object-src 'self';"
    ),
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}

_TOKEN = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"  # noqa: S105 - the RFC's word
_MEDIA_TYPE = re.compile(rf"({_TOKEN}/{_TOKEN})([ \t]*;[\x20-\x7e\t]*)?", re.ASCII)
_PLAIN_NAME = re.compile(r"[\x20-\x7e]+", re.ASCII)


def content_type_of(header: str | None) -> str:
    """The type to keep for an upload: as sent, or application/octet-stream for none and for what is not a type."""
    text = (header or "").strip()
    return text if len(text) <= 255 and _MEDIA_TYPE.fullmatch(text) else DEFAULT_TYPE


def essence_of(content_type: str) -> str:
    """`text/plain` of `Text/Plain; charset=x`."""
    return content_type.partition(";")[0].strip().lower()


def disposition_of(content_type: str, file_name: str | None) -> str:
    """The Content-Disposition: inline only for the specification's safe types, with the name if there is one."""
    kind = "inline" if essence_of(content_type) in INLINE_TYPES else "attachment"
    if not file_name:
        return kind
    if _PLAIN_NAME.fullmatch(file_name):
        escaped = file_name.replace("\\", "\\\\").replace('"', '\\"')
        return f'{kind}; filename="{escaped}"'
    return f"{kind}; filename*=utf-8''{quote(file_name, safe='')}"
