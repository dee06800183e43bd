"""Dot-separated property paths, such as `content.m\\.relates_to.event_id`, and the part of an object that they name.

Imports nothing of ours. Source: Matrix appendices, "Dot-separated property paths".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

Path: TypeAlias = tuple[str, ...]


def parse_path(text: str) -> Path:
    """The property names. A backslash makes a dot or a backslash part of a name; before others it stands for itself."""
    parts: list[str] = []
    part = ""
    characters = iter(text)
    for character in characters:
        if character == ".":
            parts.append(part)
            part = ""
        elif character == "\\":
            escaped = next(characters, "")
            part += escaped if escaped in ("\\", ".") and escaped else "\\" + escaped
        else:
            part += character
    return (*parts, part)


def only_paths(value: dict[str, Any], paths: Iterable[Path]) -> dict[str, Any]:
    """A copy of `value` with nothing but what the paths name; those that lead nowhere are left out."""
    kept: dict[str, Any] = {}
    for path in paths:
        _copy(value, kept, path)
    return kept


def _copy(source: Any, target: dict[str, Any], path: Path) -> None:
    for depth, name in enumerate(path, 1):
        if not isinstance(source, dict) or name not in source:
            return
        source = source[name]
        if depth == len(path):
            target[name] = source
            return
        inner = target.get(name)
        if inner is None:
            if not isinstance(source, dict) or path[depth] not in source:
                return
            target[name] = inner = {}
        elif inner is source:  # a shorter path has brought all of it
            return
        target = inner
