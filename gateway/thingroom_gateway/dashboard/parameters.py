"""What a request asks for: each query and form field is read here, and refused with a sentence if it makes no sense.

Pure. pages_*.py call it; server.py turns `Bad` into a page.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl

HOUR: Final = 3_600_000
SPANS: Final = {"24h": 24 * HOUR, "7d": 168 * HOUR, "30d": 720 * HOUR, "1y": 365 * 24 * HOUR}
SPAN_TITLES: Final = {"24h": "24 hours", "7d": "7 days", "30d": "30 days", "1y": "1 year"}
MAX_FIELD: Final = 1024
MAX_FIELDS: Final = 20
_DECIMAL: Final = re.compile(r"-?[0-9]{1,9}(\.[0-9]{1,6})?", re.ASCII)
_PATH: Final = re.compile(r"/(?:[A-Za-z0-9_-][A-Za-z0-9_./-]*)?(?:\?[A-Za-z0-9=&._%+-]*)?")


class Bad(Exception):
    """The request makes no sense; the message is a sentence for whoever sent it."""


def form_fields(body: bytes) -> dict[str, str]:
    """The fields of a form, as browsers send them (application/x-www-form-urlencoded). Raises Bad."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_FIELDS,
            errors="strict",
        )
    except ValueError:
        raise Bad("The form could not be read.") from None
    fields = dict(pairs)
    if any(len(value) > MAX_FIELD for value in fields.values()):
        raise Bad("A field of the form is too long.")
    return fields


def text(fields: Mapping[str, str], name: str, most: int = 200) -> str:
    """A field that must be there. Raises Bad."""
    value = fields.get(name, "").strip()
    if not value:
        raise Bad(f"The field {name} is missing.")
    if len(value) > most or not value.isprintable():
        raise Bad(f"The field {name} makes no sense.")
    return value


def number(fields: Mapping[str, str], name: str, least: int, most: int, default: int) -> int:
    """A whole number between `least` and `most`. Raises Bad."""
    value = fields.get(name, "").strip()
    if not value:
        return default
    if not (value.isascii() and value.isdecimal() and len(value) <= 9 and least <= int(value) <= most):
        raise Bad(f"{name} must be a number from {least} to {most}.")
    return int(value)


def decimal(fields: Mapping[str, str], name: str) -> str:
    """A decimal as text; a comma does for the point. Raises Bad."""
    value = fields.get(name, "").strip().replace(",", ".")
    if not _DECIMAL.fullmatch(value):
        raise Bad(f"{name} must be a number, as 21.5.")
    return value


def span(fields: Mapping[str, str]) -> str:
    """One of SPANS. Raises Bad."""
    value = fields.get("span", "24h")
    if value not in SPANS:
        raise Bad(f"span must be one of {', '.join(SPANS)}.")
    return value


def search(fields: Mapping[str, str]) -> str:
    """What devices are searched for, casefolded. Raises Bad."""
    value = fields.get("find", "").strip()
    if len(value) > 64 or not value.isprintable():
        raise Bad("Search for 64 letters or digits at most.")
    return value.casefold()


def own_path(value: str) -> str:
    """Where to go after signing in: a page of ours, the first one if `value` is anything else."""
    good = len(value) <= 200 and not value.startswith("//") and _PATH.fullmatch(value)
    return value if good and ".." not in value else "/"
