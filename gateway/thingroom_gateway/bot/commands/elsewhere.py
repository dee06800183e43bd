"""What is not in this room and is meant all the same: devices of other rooms that the person is in.

May import people, names, vocabulary. Commands ask where they found nothing of a name.
"""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_gateway.bot.conversation import Tools, Where
from thingroom_gateway.bot.names import vocabulary_of
from thingroom_gateway.bot.vocabulary import longest, tokens_of
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.storage.places import SPACE


async def elsewhere(text: str, where: Where, tools: Tools) -> list[Device]:
    """Devices in other rooms that `text` names, by themselves or by their place. Raises people.NotNow."""
    if not where.place or where.place == SPACE:
        return []
    allowed = await tools.people.places_of(where.person) - {where.place}
    owner = where.person == tools.home.owner
    others = [
        device
        for device in tools.registry
        if device.row.status == ACTIVE and device.row.place != where.place and (owner or device.row.place in allowed)
    ]
    return named_in(text, others)


def named_in(text: str, devices: Sequence[Device]) -> list[Device]:
    """Those of `devices` that are named in `text`, or whose place is. Pure."""
    known = vocabulary_of(devices)
    words = [token.word for token in tokens_of(text)]
    numbers: set[int] = set()
    places: set[str] = set()
    for at in range(len(words)):
        if length := longest(known.devices, words, at):
            numbers.update(known.devices[tuple(words[at : at + length])])
        if length := longest(known.places, words, at):
            places.add(known.places[tuple(words[at : at + length])])
    return [device for device in devices if device.row.id in numbers or device.row.place in places]


def said_of(devices: Sequence[Device]) -> str:
    """A sentence on where to ask for them; empty without any."""
    if not devices:
        return ""
    names = [
        device.row.name if device.row.name == device.row.place else f"{device.row.name} (in {device.row.place})"
        for device in devices[:5]
    ]
    rooms = sorted({device.row.place for device in devices[:5]})
    room = f"the room {rooms[0]}" if len(rooms) == 1 else "its room"
    return f"{', '.join(names)} {'is' if len(names) == 1 else 'are'} elsewhere: say it in {room}, or in a chat with me."
