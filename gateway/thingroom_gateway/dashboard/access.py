"""Who may see what: the rooms of the home decide, as they do for the bot.

May import bot.people's rules, devices, storage. The pages ask here; what may be changed they ask bot/people.py itself.
"""

from __future__ import annotations

from thingroom_gateway.bot.conversation import Tools
from thingroom_gateway.devices import Device
from thingroom_gateway.storage import places
from thingroom_gateway.storage.places import SPACE


class Access:
    """All methods may raise NotNow: the homeserver does not say who is in which room."""

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def may_enter(self, person: str) -> bool:
        """Whether `person` is of this home: its owner, or in its Space or one of its rooms."""
        tools = self._tools
        if person == tools.home.owner:
            return True
        space = tools.database.read(lambda connection: places.load_room(connection, SPACE))
        if space is not None and person in await tools.people.members(space.room_id):
            return True
        return bool(await tools.people.places_of(person))

    async def devices(self, person: str) -> list[Device]:
        """Those in rooms that `person` is in; the owner's are all, also where there is no room yet."""
        found = list(self._tools.registry)
        if person != self._tools.home.owner:
            inside = await self._tools.people.places_of(person)
            found = [device for device in found if device.row.place in inside]
        return sorted(found, key=lambda one: (one.row.place.casefold(), one.row.name.casefold(), one.row.id))

    async def device(self, person: str, kid: str) -> Device | None:
        """The device of that key id, if `person` may see it."""
        device = self._tools.registry.get(bytes.fromhex(kid))
        if device is None or person == self._tools.home.owner:
            return device
        return device if device.row.place in await self._tools.people.places_of(person) else None
