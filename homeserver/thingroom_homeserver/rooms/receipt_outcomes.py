"""What receiving an event comes to: one of these values, never an exception.

May import storage. Made by receive_event.py, import_room.py and outliers.py; what the peer is told of each is
decided by whoever called.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from thingroom_homeserver.storage.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Accepted:
    """The event is part of the room and of the stream."""

    stored: StoredEvent


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The event was here already, whatever had become of it then, or is part of the history below a gap.

    Nothing was written.
    """

    stored: StoredEvent


@dataclass(frozen=True, slots=True)
class SoftFailed:
    """The event is kept for the graph, but no client sees it and no event of this server follows it."""

    stored: StoredEvent
    reason: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """The event is refused for good. Where its place in the graph is known it is kept as rejected.

    It never is in any state and authorises nothing.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """The event cannot be judged before these are here. Nothing was written.

    prev_event_ids: to be received in full, or replaced by a `state_before`. auth_event_ids: to be stored as outliers;
    with a `state_before` also those of its events that are not stored.
    """

    prev_event_ids: tuple[str, ...]
    auth_event_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UnknownRoom:
    """This server has no state of the room. Nothing was written."""


Received: TypeAlias = Accepted | Duplicate | SoftFailed | Rejected | Missing | UnknownRoom
