"""Gaps: where a room's history is not here yet, and what is put into them later.

A gap is a reserve of positions below the event that opened it (docs/decisions/0023-positions-and-gaps.md).
May import core and storage. Source: Server-Server API, "Backfilling and retrieving missing events".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.state_groups import StateKey


@dataclass(frozen=True, slots=True)
class Gap:
    """Between floor and next (inclusive) there are no events yet; the next one put in takes the position `next`.

    missing: the prev events of what lies above that are not here in full: where to go on. They are never empty.
    """

    number: int
    room_id: str
    floor: int
    next: int
    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """`count` events became part of the history, `rejected` were refused. gap: what is left of it, None: closed."""

    count: int
    rejected: int
    gap: Gap | None


def gaps_between(connection: Reader, room_id: str, above: int, upto: int) -> list[Gap]:
    """The room's gaps between two positions, newest first: those which a page of above < position <= upto crosses."""
    raise NotImplementedError


def import_history(
    rooms: Rooms,
    transaction: Transaction,
    room_id: str,
    gap: Gap,
    events: Sequence[Event],
    state_before: Mapping[str, Mapping[StateKey, str]],
) -> Imported:
    """Put backfilled events into the gap; clients find them by paging back, nobody is notified.

    `events` have passed steps 1 to 3 and their auth events are stored; those that do not lead to `gap.missing` by
    prev_events, or whose state before is neither known by their prev events nor in `state_before` (by event id; all
    of its events stored), are left out. Only steps 4 and 5 apply.
    """
    raise NotImplementedError


def missing_states(rooms: Rooms, connection: Reader, events: Sequence[Event]) -> list[str]:
    """Those of the events (their ids, oldest last) whose state before must be asked of peers before `import_history`."""
    raise NotImplementedError


def give_up_gap(transaction: Transaction, gap: Gap) -> None:
    """Nobody has what is missing: the history begins above this gap. It is not tried again."""
    raise NotImplementedError
