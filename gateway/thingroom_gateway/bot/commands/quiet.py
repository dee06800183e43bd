"""quiet hours: when the alerts of a room wait."""

from __future__ import annotations

from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import EndQuiet, SetQuiet, ShowQuiet, Targets
from thingroom_gateway.storage import alerts as store
from thingroom_gateway.storage.places import SPACE

_IN_ITS_ROOM = Answer("Quiet hours belong to a room: name one, or say it in the room whose alerts should wait.")


async def answer_set_quiet(request: SetQuiet, where: Where, tools: Tools) -> Answer:
    place = _place(request.targets, where)
    if not place:
        return _IN_ITS_ROOM
    if not await tools.people.may_change(where.person, place):
        return polite_refusal("those who may change this room")
    hours = (request.first, request.last)
    return Answer(
        f"Alerts of {_room(place, where)} wait from {clock(request.first)} to {clock(request.last)} ({tools.zone.key}),"
        " and are told afterwards.",
        writes=[lambda transaction: store.set_quiet_hours(transaction, place, hours)],
    )


async def answer_end_quiet(request: EndQuiet, where: Where, tools: Tools) -> Answer:
    place = _place(request.targets, where)
    if not place:
        return _IN_ITS_ROOM
    if not await tools.people.may_change(where.person, place):
        return polite_refusal("those who may change this room")
    return Answer(
        f"There are no quiet hours in {_room(place, where)} any more.",
        writes=[lambda transaction: store.set_quiet_hours(transaction, place, None)],
    )


async def answer_show_quiet(request: ShowQuiet, where: Where, tools: Tools) -> Answer:
    known = tools.database.read(store.quiet_hours)
    if where.place is not None and where.place != SPACE:
        hours = known.get(where.place)
        if hours is None:
            return Answer("There are no quiet hours here. `quiet hours 22:00 to 7:00` makes some.")
        return Answer(f"Alerts of this room wait from {clock(hours[0])} to {clock(hours[1])}.")
    here = {device.row.place for device in where.devices}
    lines = [f"{place}: {clock(first)} to {clock(last)}" for place, (first, last) in known.items() if place in here]
    return Answer("\n".join(lines[:50]) or "No room has quiet hours.")


def _place(targets: Targets, where: Where) -> str | None:
    """The one place that is meant: a named one, that of named devices, else where it is said. Pure."""
    if not (targets.devices or targets.places):
        return where.place
    places = {*targets.places, *(device.row.place for device in where.chosen(targets))}
    return places.pop() if len(places) == 1 else None


def _room(place: str, where: Where) -> str:
    return "this room" if place == where.place else f"the room {place}"


def clock(minute: int) -> str:
    """A minute of the day as "22:00"."""
    return f"{minute // 60:02}:{minute % 60:02}"
