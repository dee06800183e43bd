"""Devices of no dialect: a JSON object, or one value, at a topic that the owner names in the configuration.

Pure; may import words and said. Unless the filter says where devices are, a JSON object is a device at its topic, and a
bare value one of the device at the topic above. What names and units do not tell, a profile's [[sources]] do.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from thingroom_gateway.plain.said import MAX_BASE, MAX_METRICS, Kind, Known, Metric, Readings, Said, numbered
from thingroom_gateway.plain.words import (
    Unreadable,
    number,
    number_name,
    opposite,
    plain_text,
    read_json,
    read_text,
    slug,
    truth,
    truth_name,
)

NAME: Final = "topics"


def filters(prefix: str) -> tuple[str, ...]:
    """`prefix` is an MQTT topic filter."""
    return (prefix,)


def read(prefix: str, topic: str, payload: bytes, _known: Known) -> list[Said]:
    """What the message says. Raises Unreadable.

    With a filter like greenhouse/+/# the device is what stands before the #, and all below it is told by it.
    """
    levels = prefix.count("/") if prefix.endswith("/#") else 0
    return [at(levels, topic, payload)]


def at(levels: int, topic: str, payload: bytes) -> Readings:
    """The message of the device at the first `levels` levels of `topic`; 0: judge by the payload. Raises Unreadable."""
    text = read_text(payload)
    tree: Any = read_json(payload) if text.lstrip()[:1] == "{" else text.strip()
    parts = topic.split("/")
    if not levels:
        levels = len(parts) if isinstance(tree, dict) else len(parts) - 1
    base, below = "/".join(parts[:levels]), parts[levels:]
    if not base or len(base) > MAX_BASE:
        raise Unreadable("no_device")
    if isinstance(tree, dict):
        metrics = tuple(metric for metric, _ in zip(_leaves(tree), range(MAX_METRICS), strict=False))
    else:
        metric = value_of(parts[-1], tree)
        metrics = () if metric is None else (metric,)
    return Readings(base, "/".join(below), metrics, tree)


def _leaves(tree: dict[str, Any]) -> Iterator[Metric]:
    taken: set[str] = set()
    waiting: list[tuple[str, Any]] = list(reversed(tree.items()))
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            waiting += [(f"{path}.{key}", item) for key, item in reversed(value.items())]
            continue
        metric = value_of(path.rpartition(".")[2], value)
        if metric is not None and len(path) <= 120:
            yield Metric(numbered(metric.name, taken), metric.kind, metric.value, metric.unit, path)


def value_of(name: str, value: Any) -> Metric | None:
    """A value by the name it goes by: a number, a truth, else a text."""
    text, word = number(value), truth(value)
    known_number, known_truth = number_name(name), truth_name(name)
    kind: Kind
    if text is not None and (known_truth is None or known_number is not None):
        own, unit = known_number or (slug(name), "")
        return Metric(own, "number", text, unit) if own else None
    if word is not None:
        own, turned = known_truth or (slug(name), False)
        return Metric(own, "boolean", opposite(word) if turned else word) if own else None
    words = plain_text(value)
    kind = "text"
    return Metric(slug(name), kind, words) if words is not None and slug(name) else None
