"""One line for each thing that is logged, as key=value or as JSON, with the number of the request it belongs to.

May import the standard library and orjson. Every program of Thingroom logs through here. What is logged holds no
secrets: nobody logs tokens, passwords, pairing codes or the query of a URL.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

import orjson

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

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


def log_as(kind: LogFormat, level: LogLevel = "info", quiet: tuple[str, ...] = ()) -> None:
    """Write the log to standard error in that format, from `level` on; of the loggers in `quiet` only warnings."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines(as_json=kind == "json"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)


def fields(**values: object) -> dict[str, dict[str, object]]:
    """For `logger.info("...", extra=fields(...))`: more values on the line, each under its own key."""
    return {"fields": values}


def _value(value: object) -> str:
    """As it is where that is one word, else in quotes, with line breaks and quotes escaped."""
    text = str(value)
    if text and text.isprintable() and not any(character in text for character in ' "='):
        return text
    return orjson.dumps(text.encode("utf-8", "replace").decode()).decode()
