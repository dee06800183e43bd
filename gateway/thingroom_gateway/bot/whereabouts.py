"""What a room is to the bot, and which devices can be talked about there.

May import people, conversation, storage. worker.py asks for each message.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.storage import bot as store
from thingroom_gateway.storage import places
from thingroom_gateway.storage.bot import Waiting
from thingroom_gateway.storage.places import SPACE


@dataclass(frozen=True, slots=True)
class Room:
    """What a room is to the bot: a place's, the Space (place SPACE), a direct chat, or none of these."""

    room_id: str
    place: str | None
    chat_of: str | None


class Whereabouts:
    """Knows rooms by the database and by who is in them. Methods raise people.NotNow."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools
        self._database = tools.database

    async def room(self, room_id: str) -> Room:
        place = self._database.read(lambda connection: places.place_of_room(connection, room_id))
        if place is not None:
            return Room(room_id, place, None)
        members = await self._tools.people.members(room_id)
        others = members - {self._tools.home.bot}
        person = next(iter(others)) if len(others) == 1 and self._tools.home.bot in members else None
        known = self._database.read(lambda connection: store.chat_of(connection, room_id))
        if person != known and (person or known):
            await self._database.write(partial(store.save_chat, room_id=room_id, person=person or ""))
        return Room(room_id, None, person)

    async def where(self, room: Room, row: Waiting) -> Where:
        person = row.heard.sender
        return Where(room.room_id, row.heard.event_id, person, room.place, await self._devices(room, person))

    async def _devices(self, room: Room, person: str) -> list[Device]:
        """What may be talked about: in a place's room what is in it, in a direct chat what the person could see."""
        if room.place is not None and room.place != SPACE:
            return [d for d in self._tools.registry if d.row.place == room.place and d.row.status == ACTIVE]
        if room.chat_of == person or room.place == SPACE:
            # The Space has members who are not in every room: there only what the owner asks concerns all devices.
            if room.place == SPACE and person != self._tools.home.owner:
                return []
            allowed = await self._tools.people.places_of(person)
            owner = person == self._tools.home.owner
            return [d for d in self._tools.registry if d.row.status == ACTIVE and (owner or d.row.place in allowed)]
        return []
