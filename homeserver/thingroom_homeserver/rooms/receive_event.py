"""Receiving an event of another server: steps 4 to 7 of the checks, the graph, the state. Inside a write function.

Steps 1 to 3 (format, signatures, hashes) are behind the event when it comes here. May import core and storage.
Source: Server-Server API, "Checks performed on receipt of a PDU". Next: state_at.py, accept_event.py.
"""

from __future__ import annotations

from collections.abc import Mapping

from thingroom_common.database import Transaction
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.receipt_outcomes import Received
from thingroom_homeserver.storage.state_groups import StateKey


def receive_event(
    rooms: Rooms,
    transaction: Transaction,
    event: Event,
    *,
    state_before: Mapping[StateKey, str] | None = None,
    send_out: bool = False,
    recommended: bool = True,
) -> Received:
    """Judge the event and take it in.

    `state_before`: the state before the event as peers tell it, used where prev events are missing; the event then
    opens a gap in the history. All of its events must be stored, at least as outliers. `send_out`: whether this server
    is to send the event to the others (those it made itself or countersigned). `recommended`: step 7, what the room's
    policy server says of it; asked for by the caller, since it may need the network.
    """
    raise NotImplementedError
