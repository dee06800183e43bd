"""Users who wanted their messages erased when they left for good: who came later gets redacted copies.

Whoever could see a message before keeps seeing it, and nothing is redacted in the room. Their profile in the room
counts as theirs; other state, such as a room's name, is the room's and stays. May import core and storage.
Source: client-server API, POST /account/deactivate, `erase`. Used by present.py, search.py and
server_visibility.py.
"""

from __future__ import annotations

from thingroom_homeserver.core.event import Event, event_of_pdu
from thingroom_homeserver.core.redaction import redact
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.erasures import all_erasures
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.memberships import was_joined_between, was_server_joined_between


class Erasures:
    """The position at which each of them was erased, in memory: they are few, and every event shown asks."""

    def __init__(self) -> None:
        self._erased: dict[str, int] = {}

    def load(self, connection: Reader) -> None:
        """At the start, and when somebody was erased."""
        self._erased = dict(all_erasures(connection))

    def hides(self, connection: Reader, viewer_id: str, stored: StoredEvent) -> bool:
        """Whether the viewer gets a redacted copy."""
        erased = self._erased_at(stored)
        if erased is None or stored.position is None:
            return False
        return not was_joined_between(connection, stored.event.room_id, viewer_id, stored.position, erased)

    def hides_from_server(self, connection: Reader, server_name: str, stored: StoredEvent) -> bool:
        """The same for another server: whether none of its users was there. For what federation gives out."""
        erased = self._erased_at(stored)
        if erased is None or stored.position is None:
            return False
        return not was_server_joined_between(connection, stored.event.room_id, server_name, stored.position, erased)

    def _erased_at(self, stored: StoredEvent) -> int | None:
        """Where the sender was erased, if this event is theirs to be hidden."""
        erased = self._erased.get(stored.event.sender)
        if erased is None or stored.position is None or stored.position > erased:
            return None
        event = stored.event
        if event.state_key is not None and not (event.type == "m.room.member" and event.state_key == event.sender):
            return None
        return erased

    def shown(self, connection: Reader, viewer_id: str, stored: StoredEvent) -> Event:
        """The event as the viewer may see it."""
        event = stored.event
        if not self._erased or not self.hides(connection, viewer_id, stored):
            return event
        return event_of_pdu(redact(event.pdu, event.rules), event.event_id, event.rules)
