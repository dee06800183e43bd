"""rename and move: what a device is called and where it is."""

from __future__ import annotations

from dataclasses import replace

from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import Move, Rename
from thingroom_gateway.bot.vocabulary import fold
from thingroom_gateway.enrolment import MAX_NAME

_BAD_NAME = f"A name has 1 to {MAX_NAME} letters, digits or signs."


async def answer_rename(request: Rename, where: Where, tools: Tools) -> Answer:
    device = where.one(request.devices)
    if isinstance(device, Answer):
        return device
    if not await tools.people.may_change(where.person, device.row.place):
        return polite_refusal("those who may change this room")
    name = tools.enrolment.name_of(request.name)
    if name is None:
        return Answer(_BAD_NAME)
    before = device.row
    if before.name == name:
        return Answer(f"It is called {name} already.")
    after = replace(before, name=name)
    return Answer(
        f"{before.name} is {name} now.",
        writes=[lambda transaction: tools.enrolment.describe(transaction, before, after)],
    )


async def answer_move(request: Move, where: Where, tools: Tools) -> Answer:
    device = where.one(request.devices)
    if isinstance(device, Answer):
        return device
    place = tools.enrolment.name_of(request.place)
    if place is None:
        return Answer(_BAD_NAME)
    # A room that is there is meant, however it is written.
    known = {fold(other.row.place): other.row.place for other in tools.registry}
    new_room = fold(place) not in known
    place = known.get(fold(place), place)
    before = device.row
    if before.place == place:
        return Answer(f"{before.name} is in {place} already.")
    may = await tools.people.may_change(where.person, before.place)
    if may:
        may = (
            await tools.people.is_owner(where.person)
            if new_room
            else await tools.people.may_change(where.person, place)
        )
    if not may:
        return polite_refusal("the owner" if new_room else "those who may change both rooms")
    after = replace(before, place=place)
    made = " (a new room)" if new_room else ""
    return Answer(
        f"{before.name} moves from {before.place} to {place}{made}. What it said stays here.",
        writes=[lambda transaction: tools.enrolment.describe(transaction, before, after)],
    )
