"""The filter's `event_format` and `event_fields`: the events of an answer as other servers see them, or parts of them.

May import rooms, core and storage. Source: Client-Server API, "Filtering". Next: ../core/property_path.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from thingroom_homeserver.core.property_path import only_paths
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.present import JsonObject
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.sync.request import STATE_AFTER, UNSTABLE_STATE_AFTER
from thingroom_homeserver.sync.sync_filter import SyncFilter


def needs_shaping(wanted: SyncFilter) -> bool:
    """Whether the events are not to be told as they are."""
    return wanted.federation_format or wanted.event_fields is not None


def shape_events(rooms: Rooms, connection: Reader, wanted: SyncFilter, *kinds: JsonObject) -> None:
    """Replace the timeline's and the state's events in the rooms of each of `kinds`."""
    for section in (section for rooms_of_kind in kinds for section in rooms_of_kind.values()):
        for name in ("state", STATE_AFTER, UNSTABLE_STATE_AFTER, "timeline"):
            if name in section:
                section[name]["events"] = _shaped(rooms, connection, wanted, section[name]["events"])


def _shaped(rooms: Rooms, connection: Reader, wanted: SyncFilter, events: Iterable[JsonObject]) -> list[JsonObject]:
    shaped = list(events)
    if wanted.federation_format:
        shaped = [_as_pdu(rooms, connection, event) for event in shaped]
    if wanted.event_fields is not None:
        shaped = [only_paths(event, wanted.event_fields) for event in shaped]
    return shaped


def _as_pdu(rooms: Rooms, connection: Reader, event: JsonObject) -> JsonObject:
    """The event as it travels between servers, with the id and the `unsigned` that this client is shown."""
    stored = rooms.events.get(connection, event["event_id"])
    if stored is None:
        return event
    pdu = {**stored.event.pdu, "event_id": stored.event_id, "room_id": stored.event.room_id}
    pdu["content"] = event["content"]
    return pdu | ({"unsigned": event["unsigned"]} if "unsigned" in event else {})
