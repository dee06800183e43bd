"""Events as one viewer is shown them: the client format, and what `unsigned` says to them of each.

May import core and storage. Source: Client-Server API, "Room event format". Used by sync and the room endpoints.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from thingroom_homeserver.core.client_event import to_client_event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent

JsonObject = dict[str, Any]

# What somebody sees of a room who is not in it yet (Client-Server API, "Stripped state").
STRIPPED_TYPES = (
    "m.room.create",
    "m.room.name",
    "m.room.avatar",
    "m.room.topic",
    "m.room.join_rules",
    "m.room.canonical_alias",
    "m.room.encryption",
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, from which session (which sees the transaction ids of its own events), at what time (ms).

    ignored: whom the user ignores, for who tells of timelines.
    """

    user_id: str
    session: str | None
    now_ms: int
    ignored: frozenset[str] = frozenset()


def present_event(
    rooms: Rooms,
    connection: Reader,
    viewer: Viewer,
    stored: StoredEvent,
    *,
    membership: str | None = None,
    with_room_id: bool = False,
    relations: JsonObject | None = None,
) -> JsonObject:
    """One event for the viewer. `membership`: the viewer's after the event, where it is known.

    `relations`: its `m.relations`, out of relations.py.
    """
    event = rooms.erasures.shown(connection, viewer.user_id, stored)
    prev_content = None
    if stored.replaces_state is not None:
        replaced = rooms.events.get(connection, stored.replaces_state)
        # One's own membership is known to oneself, whatever else one may see: of an invite, that it was one. What is
        # not in the stream, but in the state before an event that the viewer may see, came to them with it.
        is_own = (event.type, event.state_key) == ("m.room.member", viewer.user_id)
        if replaced is not None and (
            is_own
            or replaced.position is None
            or rooms.visibility.may_see_one(connection, viewer.user_id, replaced) is not None
        ):
            prev_content = rooms.erasures.shown(connection, viewer.user_id, replaced).content
    redacted_because = None
    if stored.redacted_by is not None:
        redaction = rooms.events.get(connection, stored.redacted_by)
        if redaction is not None:
            redacted_because = to_client_event(
                redaction.event, with_room_id=with_room_id, age=viewer.now_ms - redaction.event.origin_server_ts
            )
    own = stored.session is not None and stored.session == viewer.session and event.sender == viewer.user_id
    return to_client_event(
        event,
        with_room_id=with_room_id,
        age=viewer.now_ms - event.origin_server_ts,
        transaction_id=stored.transaction_id if own else None,
        prev_content=prev_content,
        replaces_state=stored.replaces_state,
        redacted_because=redacted_because,
        membership=membership,
        more_unsigned=None if relations is None else {"m.relations": relations},
    )


def present_state(
    rooms: Rooms, connection: Reader, viewer: Viewer, event_ids: Iterable[str], *, with_room_id: bool = False
) -> list[JsonObject]:
    """State events for somebody who may see the whole state, in the order of their positions."""
    found = rooms.events.get_many(connection, event_ids).values()
    ordered = sorted(found, key=lambda stored: stored.position or 0)
    return [present_event(rooms, connection, viewer, stored, with_room_id=with_room_id) for stored in ordered]
