"""What is known of plain MQTT devices that were heard: seen ones, their descriptions, discovery's entities.

In memory and bounded; may import said and dialects. devices.py owns one; it has no clock and no database.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from thingroom_gateway.plain.dialects import Listening, native
from thingroom_gateway.plain.said import (
    MAX_METRICS,
    Described,
    Discovered,
    Entity,
    Gone,
    Handle,
    Known,
    Metric,
    Readings,
    numbered,
)

MAX_SEEN: Final = 500
MAX_DESCRIBED: Final = 2000
MAX_DISCOVERIES: Final = 4000
MAX_TOPICS: Final = 4000


@dataclass(slots=True)
class Seen:
    """A device that was heard. `metrics` by name: the newest of each; times in Unix ms."""

    base: str
    dialect: str
    first_at: int
    last_at: int
    metrics: dict[str, Metric] = field(default_factory=dict)
    online: bool | None = None


class Book:
    """Keeps what devices said of themselves. Least recently heard devices are forgotten first."""

    def __init__(self, listening: Sequence[Listening]) -> None:
        self._listening = listening
        self.seen: OrderedDict[str, Seen] = OrderedDict()
        # Adopted devices: what they said of themselves is never forgotten, whoever else appears.
        self.kept: set[str] = set()
        self._described: OrderedDict[str, Described] = OrderedDict()
        self._discoveries: dict[str, tuple[Described, ...]] = {}
        self._by_base: dict[str, set[str]] = {}
        self._entities: dict[str, tuple[tuple[str, Entity], ...]] = {}
        self._availability: dict[str, tuple[tuple[str, str, str], ...]] = {}
        # Counts changes of `topics`.
        self.version = 0
        self.known = Known(self._described, self._entities, self._availability)

    def topics(self) -> set[str]:
        """Topics of discovered entities, beside those that the dialects name themselves."""
        return {*self._entities, *self._availability}

    def described(self, base: str) -> Described | None:
        return self._described.get(base)

    def hear(self, dialect: str, readings: Readings, now: int) -> None:
        """A device told values."""
        seen = self._meet(readings.base, dialect, now)
        for metric in readings.metrics:
            if metric.name in seen.metrics or len(seen.metrics) < MAX_METRICS:
                seen.metrics[metric.name] = metric

    def available(self, base: str, online: bool, now: int) -> None:
        """A device that was seen before is connected or not; nobody is met by that alone."""
        if base in self.seen:
            self._meet(base, self.seen[base].dialect, now).online = online

    def _meet(self, base: str, dialect: str, now: int) -> Seen:
        seen = self.seen.get(base)
        if seen is None:
            seen = self.seen[base] = Seen(base, dialect, now, now)
            if len(self.seen) > MAX_SEEN:
                self.seen.popitem(last=False)
        self.seen.move_to_end(base)
        seen.last_at = now
        return seen

    def remember(self, described: Described) -> bool:
        """Take in what a device said of itself, beside what it said before; whether anything is new."""
        before = self._described.get(described.base)
        merged = described if before is None else _merged(before, described)
        if merged == before:
            return False
        self._keep(merged)
        return True

    def _keep(self, described: Described) -> None:
        self._described[described.base] = described
        self._described.move_to_end(described.base)
        if len(self._described) - len(self.kept) > MAX_DESCRIBED:
            oldest = next(base for base in self._described if base not in self.kept)
            self._unindex(oldest)
            del self._described[oldest]

    def discover(self, discovered: Discovered, now: int) -> set[str]:
        """A discovery message; returns the devices it changes. What a dialect tells itself is not taken twice."""
        parts = tuple(
            part
            for part in discovered.parts
            if not any(native(self._listening, entity.topic) for entity in part.entities)
        )
        if discovered.topic not in self._discoveries and len(self._discoveries) >= MAX_DISCOVERIES:
            return set()
        changed = self.withdraw(Gone(discovered.topic))
        parts = tuple(part for part in parts if len(self._by_base.get(part.base, ())) < MAX_METRICS)
        if not parts:
            return changed
        self._discoveries[discovered.topic] = parts
        bases = {part.base for part in parts}
        for base in bases:
            self._by_base.setdefault(base, set()).add(discovered.topic)
            self._rebuild(base)
            self._meet(base, parts[0].dialect, now)
        return changed | bases

    def withdraw(self, gone: Gone) -> set[str]:
        """A discovery message was taken back; returns the devices it changes."""
        bases = {part.base for part in self._discoveries.pop(gone.topic, ())}
        for base in bases:
            topics = self._by_base.get(base, set())
            topics.discard(gone.topic)
            if not topics:
                self._by_base.pop(base, None)
            self._rebuild(base)
        return bases

    def restore(self, described: Described) -> None:
        """What was known of an adopted device when the gateway stopped, until it is discovered again."""
        self._keep(described)
        self._index(described)

    def _rebuild(self, base: str) -> None:
        """A device's description of all its discovery messages, in the order of their topics: names stay the same."""
        parts = [
            part
            for topic in sorted(self._by_base.get(base, ()))
            for part in self._discoveries[topic]
            if part.base == base
        ]
        self._unindex(base)
        if not parts:
            self._described.pop(base, None)
            return
        names: set[str] = set()
        entities: list[Entity] = []
        handles: list[Handle] = []
        availability: dict[str, tuple[str, str]] = {}
        for part in parts:
            renamed: dict[str, str] = {}
            for entity in part.entities:
                renamed[entity.name] = numbered(entity.name, names)
                entities.append(msgspec.structs.replace(entity, name=renamed[entity.name]))
            for handle in part.handles:
                name = renamed.get(handle.name) or numbered(handle.name, names)
                handles.append(msgspec.structs.replace(handle, name=name))
            availability.update(part.availability)
        described = msgspec.structs.replace(
            parts[0],
            title=next((part.title for part in parts if part.title), ""),
            model=next((part.model for part in parts if part.model), ""),
            entities=tuple(entities[:MAX_METRICS]),
            handles=tuple(handles[:MAX_METRICS]),
            availability=availability,
        )
        self._keep(described)
        self._index(described)

    def _index(self, described: Described) -> None:
        base = described.base
        self.version += 1
        for entity in described.entities:
            if entity.topic in self._entities or len(self._entities) < MAX_TOPICS:
                self._entities[entity.topic] = (*self._entities.get(entity.topic, ()), (base, entity))
        for topic, (online, offline) in described.availability.items():
            if topic in self._availability or len(self._availability) < MAX_TOPICS:
                self._availability[topic] = (*self._availability.get(topic, ()), (base, online, offline))

    def _unindex(self, base: str) -> None:
        before = self._described.get(base)
        if before is None:
            return
        for topic in {entity.topic for entity in before.entities}:
            left = tuple(item for item in self._entities.get(topic, ()) if item[0] != base)
            self._entities.pop(topic, None)
            if left:
                self._entities[topic] = left
        for topic in before.availability:
            others = tuple(item for item in self._availability.get(topic, ()) if item[0] != base)
            self._availability.pop(topic, None)
            if others:
                self._availability[topic] = others


def _merged(before: Described, new: Described) -> Described:
    handles = {handle.name: handle for handle in (*before.handles, *new.handles)}
    return msgspec.structs.replace(
        before,
        title=new.title or before.title,
        model=new.model or before.model,
        handles=tuple(list(handles.values())[:MAX_METRICS]),
        scales=new.scales or before.scales,
    )
