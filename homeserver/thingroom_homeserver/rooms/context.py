"""What every rooms service works with, in one frozen value: made once at start-up by `open_rooms`.

The services are functions that take it first, one module a purpose: create_room, send_event, membership, redact,
read_state, read_events, published_rooms. May import core, storage and thingroom_common.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from thingroom_common.database import Database, Transaction
from thingroom_homeserver.core.signing import SigningKey
from thingroom_homeserver.notifier import Notifier
from thingroom_homeserver.rooms.erasures import Erasures
from thingroom_homeserver.rooms.occupancy import Occupancy
from thingroom_homeserver.rooms.policies import Policies
from thingroom_homeserver.rooms.ports import Aliases, Clock, Profiles
from thingroom_homeserver.rooms.room_cache import Room, RoomCache
from thingroom_homeserver.rooms.states import States
from thingroom_homeserver.rooms.visibility import Visibility
from thingroom_homeserver.storage.events import EventStore, StoredEvent
from thingroom_homeserver.storage.memberships import local_joined_members
from thingroom_homeserver.storage.positions import current_position


class Watcher(Protocol):
    """Who looks at every event as it is stored: the notifications (push/recording.py)."""

    def stored(self, rooms: Rooms, transaction: Transaction, room: Room, stored: StoredEvent) -> None:
        """The event is written, its room's state advanced, nothing committed. It must be quick."""
        ...

    def members_changed(self, transaction: Transaction, room_id: str) -> None:
        """The room's members are not what the events up to now made them: the state was resolved, or told anew."""
        ...


@dataclass(frozen=True, slots=True)
class Rooms:
    """The collaborators of the rooms services. `cache` is the writer's, `occupancy` and `notifier` are the readers'."""

    server_name: str
    default_room_version: str
    signing_key: SigningKey
    database: Database
    clock: Clock
    profiles: Profiles
    aliases: Aliases
    events: EventStore
    cache: RoomCache
    occupancy: Occupancy
    notifier: Notifier
    visibility: Visibility
    erasures: Erasures
    states: States
    watcher: Watcher | None = None
    policies: Policies = field(default_factory=Policies)

    def is_local(self, user_id: str) -> bool:
        return user_id.partition(":")[2] == self.server_name


def open_rooms(
    *,
    server_name: str,
    default_room_version: str,
    signing_key: SigningKey,
    database: Database,
    clock: Clock,
    profiles: Profiles,
    aliases: Aliases,
    watcher: Watcher | None = None,
) -> Rooms:
    """The rooms of an open database. Its schema must hold `storage.schema.MIGRATIONS`."""
    events = EventStore()
    erasures = Erasures()
    database.read(erasures.load)
    occupancy = Occupancy(database.read(local_joined_members))
    return Rooms(
        server_name,
        default_room_version,
        signing_key,
        database,
        clock,
        profiles,
        aliases,
        events,
        RoomCache(events),
        occupancy,
        Notifier(occupancy.joined_users, database.read(current_position)),
        Visibility(events, occupancy),
        erasures,
        States(events),
        watcher,
    )
