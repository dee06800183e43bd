"""One line for each thing that is logged, as key=value or as JSON, with the number of the request it belongs to.

May import the standard library and orjson. What is logged holds no secrets: the frame logs paths without their query.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime

import orjson

REQUEST_ID: ContextVar[str] = ContextVar("request_id", default="")


class Lines(logging.Formatter):
    """`as_json` or key=value; a traceback is one more value, on the same line."""

    def __init__(self, *, as_json: bool) -> None:
        super().__init__()
        self._as_json = as_json

    def format(self, record: logging.LogRecord) -> str:
        fields = dict(self._fields(record))
        if self._as_json:
            return orjson.dumps(fields, default=str).decode()
        return " ".join(f"{key}={_value(value)}" for key, value in fields.items())

    def _fields(self, record: logging.LogRecord) -> Iterator[tuple[str, object]]:
        yield "time", datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        yield "level", record.levelname.lower()
        yield "logger", record.name
        if request_id := REQUEST_ID.get():
            yield "request", request_id
        yield "message", record.getMessage().encode("utf-8", "replace").decode()
        yield from getattr(record, "fields", {}).items()
        if record.exc_info:
            yield "traceback", self.formatException(record.exc_info)


def log_as(kind: str) -> None:
    """Write the log to standard error in that format: "text" or "json"."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(as_json=kind == "json"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


def _value(value: object) -> str:
    """As it is where that is one word, else in quotes, with line breaks and quotes escaped."""
    text = str(value)
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()
