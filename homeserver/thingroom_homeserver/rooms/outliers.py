"""Outliers: events that are known without their place in the graph, to authorise others and to be in a state.

May import core and storage. Source: Server-Server API, "Checks performed on receipt of a PDU", step 4. Next:
receive_event.py, which promotes an outlier that arrives in full.
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms


def store_outliers(
    rooms: Rooms, transaction: Transaction, room_id: str, room_version: str, events: Iterable[Event]
) -> None:
    """Keep the events that are not stored yet, each judged by its auth events; what fails is kept as rejected.

    The events have passed steps 1 to 3. They may come in any order, but an event whose auth events are neither among
    them nor stored is left out, as is one of another room. To be called with some hundred events at a time, those
    they cite first (`in_auth_order`). The room need not be known; it is noted with its version.
    """
    raise NotImplementedError


def in_auth_order(events: Iterable[Event]) -> list[Event]:
    """The events, each after those of its auth events that are among them. What is in a cycle is left out."""
    raise NotImplementedError
