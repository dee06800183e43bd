"""Relations between events: what is refused, and the aggregations that events are shown with (`m.relations`).

Nothing is aggregated ahead: an answer asks for the children of the events in it, which costs one look-up where there
are none. May import core and storage. Sources: Client-Server API, "Aggregations of child events", "Event replacements",
"Reference relations", "Threading", "Event annotations". Next: present.py, which shows the children.
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_common.database import Transaction
from thingroom_homeserver.core.canonical_json import JsonObject
from thingroom_homeserver.core.event import Event
from thingroom_homeserver.rooms.context import Rooms
from thingroom_homeserver.rooms.ignoring import ignored_users
from thingroom_homeserver.rooms.outcomes import Refused, Why
from thingroom_homeserver.rooms.present import Viewer, present_event
from thingroom_homeserver.storage.connection import Reader
from thingroom_homeserver.storage.events import StoredEvent
from thingroom_homeserver.storage.relations import THREAD, Relation, children, count_children, parents_of_type

REPLACE, REFERENCE, ANNOTATION = "m.replace", "m.reference", "m.annotation"
AGGREGATED = (REPLACE, REFERENCE, THREAD)
# How many edits, references, or last events of a thread one aggregation looks at.
MAX_LOOKED_AT = 200


def relation_fault(
    rooms: Rooms, transaction: Transaction, room_id: str, sender: str, event_type: str, content: JsonObject
) -> Refused | None:
    """Why a local user may not send an event with this relation, or None."""
    relation = content.get("m.relates_to")
    parent_id = relation.get("event_id") if isinstance(relation, dict) else None
    if not isinstance(relation, dict) or not isinstance(parent_id, str):
        return None
    match relation.get("rel_type"):
        case "m.annotation":
            key = relation.get("key")
            given = children(transaction, parent_id, room_id, ANNOTATION, upto=2**62, limit=10_000, sender=sender)
            events = rooms.events.get_many(transaction, [child.event_id for child in given]).values()
            if any(same.event.type == event_type and _relation(same.event).get("key") == key for same in events):
                return Refused(Why.DUPLICATE_ANNOTATION, "You have annotated the event with this already")
        case "m.thread":
            root = rooms.events.get(transaction, parent_id)
            if root is not None and "rel_type" in _relation(root.event):
                return Refused(Why.UNKNOWN, "A thread cannot start from an event that itself relates to another")
    return None


def aggregations(
    rooms: Rooms, connection: Reader, viewer: Viewer, events: Sequence[StoredEvent], *, within_thread: bool = False
) -> dict[str, JsonObject]:
    """The `m.relations` of those of the events that have any, by event id. State events have none."""
    candidates = {stored.event_id: stored for stored in events if not stored.event.is_state}
    if not candidates:
        return {}
    keys = [(event_id, stored.event.room_id) for event_id, stored in candidates.items()]
    parents = parents_of_type(connection, keys, AGGREGATED)
    if not parents:
        return {}
    aggregator = _Aggregator(rooms, connection, viewer, within_thread)
    found = {parent_id: aggregator.relations_of(candidates[parent_id]) for parent_id in parents}
    return {parent_id: relations for parent_id, relations in found.items() if relations}


def has_participated(connection: Reader, root: StoredEvent, user_id: str, upto: int) -> bool:
    """Whether the user sent the thread's root or an event in it."""
    event = root.event
    if event.sender == user_id:
        return True
    return bool(children(connection, event.event_id, event.room_id, THREAD, upto=upto, limit=1, sender=user_id))


def is_valid_edit(original: Event, edit: Event) -> bool:
    """Whether `edit` replaces `original` ("Validity of replacement events")."""
    return (
        original.room_id == edit.room_id
        and original.sender == edit.sender
        and original.type == edit.type
        and not original.is_state
        and not edit.is_state
        and _relation(original).get("rel_type") != REPLACE
        and (edit.type == "m.room.encrypted" or isinstance(edit.content.get("m.new_content"), dict))
    )


class _Aggregator:
    """The aggregations of one answer: for one viewer, as of one position."""

    def __init__(self, rooms: Rooms, connection: Reader, viewer: Viewer, within_thread: bool) -> None:
        self._rooms = rooms
        self._connection = connection
        self._viewer = viewer
        self._within_thread = within_thread
        self._upto = rooms.notifier.position
        self._ignored = ignored_users(connection, viewer.user_id)

    def relations_of(self, parent: StoredEvent) -> JsonObject:
        relations: JsonObject = {}
        for rel_type, value in (
            (REPLACE, self._edit(parent)),
            (REFERENCE, self._references(parent)),
            (THREAD, None if self._within_thread else self._thread(parent)),
        ):
            if value is not None:
                relations[rel_type] = value
        return relations

    def _edit(self, parent: StoredEvent) -> JsonObject | None:
        """The most recent valid edit, by the sender's time and then the event id."""
        if parent.redacted_by is not None or parent.event.sender in self._ignored:
            return None
        seen = self._visible(parent, self._children(parent, REPLACE, sender=parent.event.sender))
        valid = [stored for stored, _ in seen if is_valid_edit(parent.event, stored.event)]
        if not valid:
            return None
        latest = max(valid, key=lambda stored: (stored.event.origin_server_ts, stored.event_id))
        return present_event(self._rooms, self._connection, self._viewer, latest, with_room_id=True)

    def _references(self, parent: StoredEvent) -> JsonObject | None:
        kept = [child for child in self._children(parent, REFERENCE) if child.sender not in self._ignored]
        seen = self._visible(parent, kept)
        if not seen:
            return None
        return {"chunk": [{"event_id": stored.event_id} for stored, _ in reversed(seen)]}

    def _thread(self, parent: StoredEvent) -> JsonObject | None:
        event = parent.event
        by_sender = count_children(self._connection, event.event_id, event.room_id, THREAD, self._upto)
        count = sum(number for sender, number in by_sender.items() if sender not in self._ignored)
        kept = [child for child in self._children(parent, THREAD) if child.sender not in self._ignored]
        seen = self._visible(parent, kept)
        if not seen:
            return None
        latest, membership = seen[0]
        inner = aggregations(self._rooms, self._connection, self._viewer, [latest], within_thread=True)
        return {
            "latest_event": present_event(
                self._rooms,
                self._connection,
                self._viewer,
                latest,
                membership=membership,
                with_room_id=True,
                relations=inner.get(latest.event_id),
            ),
            "count": count,
            "current_user_participated": event.sender == self._viewer.user_id or self._viewer.user_id in by_sender,
        }

    def _children(self, parent: StoredEvent, rel_type: str, sender: str | None = None) -> list[Relation]:
        event = parent.event
        return children(
            self._connection,
            event.event_id,
            event.room_id,
            rel_type,
            upto=self._upto,
            limit=MAX_LOOKED_AT,
            sender=sender,
        )

    def _visible(self, parent: StoredEvent, relations: Sequence[Relation]) -> list[tuple[StoredEvent, str]]:
        """The events of the relations that the viewer may see, in their order."""
        ids = [relation.event_id for relation in relations]
        found = self._rooms.events.get_many(self._connection, ids)
        events = [found[event_id] for event_id in ids if event_id in found]
        user_id, room_id = self._viewer.user_id, parent.event.room_id
        return self._rooms.visibility.visible(self._connection, user_id, room_id, events)


def _relation(event: Event) -> JsonObject:
    relation = event.content.get("m.relates_to")
    return relation if isinstance(relation, dict) else {}
