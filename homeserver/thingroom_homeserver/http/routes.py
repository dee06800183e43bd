"""A trie from path segments to endpoints: the cost of a look-up is the depth of the path, not the number of routes.

May import nothing of ours. Segments are matched as sent and percent-decoded afterwards, so "%2F" stays inside one.
Only the last parameter of a path may be empty (a state key is).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

Target = TypeVar("Target")


@dataclass(slots=True)
class _Node(Generic[Target]):
    literal: dict[str, _Node[Target]] = field(default_factory=dict)
    parameter: _Node[Target] | None = None
    methods: dict[str, tuple[Target, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found(Generic[Target]):
    """An endpoint, and the decoded parameters of its path."""

    target: Target
    parameters: dict[str, str]


@dataclass(frozen=True, slots=True)
class WrongMethod:
    """The path is known; `allowed` are its methods."""

    allowed: tuple[str, ...]


class UndecodablePath(ValueError):
    """A segment is not percent-encoded UTF-8."""


class Routes(Generic[Target]):
    """The table of endpoints. Fill it with `add`, then `find`."""

    def __init__(self) -> None:
        self._root: _Node[Target] = _Node()

    def add(self, method: str, path: str, target: Target) -> None:
        """Add `path` such as "/a/{b}/c". Two targets for one method and path are a bug: ValueError."""
        node = self._root
        names: list[str] = []
        for segment in path.split("/"):
            if segment.startswith("{"):
                names.append(segment[1:-1])
                node.parameter = node.parameter or _Node()
                node = node.parameter
            else:
                node = node.literal.setdefault(segment, _Node())
        if method in node.methods:
            raise ValueError(f"two endpoints for {method} {path}")
        node.methods[method] = (target, tuple(names))

    def find(self, method: str, path: str) -> Found[Target] | WrongMethod | None:
        """What answers `method` on `path` (percent-encoded, without the query). Raises UndecodablePath."""
        segments = path.split("/")
        allowed: tuple[str, ...] = ()
        for node, values in _matches(self._root, segments, 0, ()):
            entry = node.methods.get(method)
            if entry is not None:
                target, names = entry
                return Found(target, dict(zip(names, map(_decoded, values), strict=True)))
            allowed += tuple(node.methods)
        return WrongMethod(tuple(sorted(set(allowed)))) if allowed else None


def _matches(
    node: _Node[Target], segments: list[str], at: int, values: tuple[str, ...]
) -> Iterable[tuple[_Node[Target], tuple[str, ...]]]:
    """Every node that `segments` reach, literal segments before parameters."""
    while at < len(segments):
        segment = segments[at]
        literal = node.literal.get(segment)
        if literal is not None and node.parameter is not None:
            yield from _matches(literal, segments, at + 1, values)
            literal = None
        if literal is None:
            if node.parameter is None or (not segment and at + 1 < len(segments)):
                return
            values = (*values, segment)
            literal = node.parameter
        node = literal
        at += 1
    if node.methods:
        yield node, values


def _decoded(segment: str) -> str:
    try:
        if "%" in segment:
            return unquote(segment, errors="strict")
        if not segment.isascii():
            segment.encode("utf-8")
    except UnicodeError:
        raise UndecodablePath(segment) from None
    return segment
