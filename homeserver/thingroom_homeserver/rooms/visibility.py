"""Which of a room's events a user may see: the state at each event, asked of its state group, few groups at a time.

May import core and storage. Source: Client-Server API, "Room History Visibility". Used by every read of a timeline.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable

from thingroom_homeserver.core.event import Event
from thingroom_homeserver.core.event_visibility import may_see, visibility_of
from thingroom_homeserver.rooms.occupancy import Occupancy
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import EventStore, StoredEvent
from thingroom_homeserver.storage.memberships import NO_END, last_joined_position
from thingroom_homeserver.storage.state_groups import entries_of_group

VISIBILITY = ("m.room.history_visibility", "")
CACHED_ENTRIES = 20_000


class Visibility:
    """Answers from an LRU cache of single state group entries; groups never change, so nothing goes stale."""

    def __init__(self, events: EventStore, occupancy: Occupancy) -> None:
        self._events = events
        self._occupancy = occupancy
        self._entries: OrderedDict[tuple[int, str, str], str | None] = OrderedDict()

    def visible(
        self, connection: Reader, user_id: str, room_id: str, events: Iterable[StoredEvent]
    ) -> list[tuple[StoredEvent, str]]:
        """Those of `events` (of this room, accepted) that the user may see, each with the membership after it."""
        joined_until = self._joined_until(connection, room_id, user_id)
        return [
            (stored, membership)
            for stored in events
            if (membership := self._membership_if_visible(connection, user_id, stored, joined_until)) is not None
        ]

    def may_see_one(self, connection: Reader, user_id: str, stored: StoredEvent) -> str | None:
        """The user's membership after the event if the user may see it, else None."""
        joined_until = self._joined_until(connection, stored.event.room_id, user_id)
        return self._membership_if_visible(connection, user_id, stored, joined_until)

    def _joined_until(self, connection: Reader, room_id: str, user_id: str) -> int | None:
        if self._occupancy.is_joined(room_id, user_id):
            return NO_END
        return last_joined_position(connection, room_id, user_id)

    def _membership_if_visible(
        self, connection: Reader, user_id: str, stored: StoredEvent, joined_until: int | None
    ) -> str | None:
        if stored.position is None or stored.state_group is None:
            return None
        event = stored.event
        key = (event.type, event.state_key)
        visibility_id = self._entry(connection, stored.state_group, *VISIBILITY)
        member_id = after_id = self._entry(connection, stored.state_group, "m.room.member", user_id)
        if key == VISIBILITY:
            visibility_id = stored.replaces_state
        elif key == ("m.room.member", user_id):
            member_id = stored.replaces_state
        allowed = may_see(
            event,
            visibility_of(self._event(connection, visibility_id)),
            self._membership(connection, member_id),
            "leave",
            user_id=user_id,
            joined_since=joined_until is not None and joined_until > stored.position,
        )
        return self._membership(connection, after_id) if allowed else None

    def _membership(self, connection: Reader, event_id: str | None) -> str:
        event = self._event(connection, event_id)
        return "leave" if event is None else str(event.content.get("membership"))

    def _event(self, connection: Reader, event_id: str | None) -> Event | None:
        stored = None if event_id is None else self._events.get(connection, event_id)
        return None if stored is None else stored.event

    def _entry(self, connection: Reader, group: int, event_type: str, state_key: str) -> str | None:
        cache_key = (group, event_type, state_key)
        try:
            event_id = self._entries[cache_key]
        except KeyError:
            found = entries_of_group(connection, group, [(event_type, state_key)])
            event_id = found.get((event_type, state_key))
            self._entries[cache_key] = event_id
            if len(self._entries) > CACHED_ENTRIES:
                self._entries.popitem(last=False)
        else:
            self._entries.move_to_end(cache_key)
        return event_id
