"""live: one message per device that is edited, or a new message each time."""

from __future__ import annotations

from collections.abc import Sequence

from thingroom_common.database import Transaction
from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import SetLive, ShowLive, Targets
from thingroom_gateway.devices import Device
from thingroom_gateway.storage import live as store
from thingroom_gateway.storage.places import SPACE

_WHICH = Answer("Say it in a device's room, or name a device or a place: `live kitchen on`.")


async def answer_set_live(request: SetLive, where: Where, tools: Tools) -> Answer:
    meant = _meant(request.targets, where)
    if isinstance(meant, Answer):
        return meant
    devices, places = meant
    for place in {*places, *(device.row.place for device in devices)}:
        if not await tools.people.may_change(where.person, place):
            return polite_refusal("those who may change this room")

    def write(transaction: Transaction) -> None:
        for place in places:
            store.choose_for_place(transaction, place, request.on)
        for device in devices:
            if device.row.place not in places:
                store.choose_for_device(transaction, device.row.id, request.on)
            if not request.on:
                store.over(transaction, device.row.id)

    named = " and ".join([*places, *(device.row.name for device in devices if device.row.place not in places)])
    if request.on:
        text = f"{named}: one message per device from now on, which changes with its values. `live off` ends that."
    else:
        text = f"{named}: a new message when a value has moved, from now on."
    return Answer(text, writes=[write])


async def answer_show_live(request: ShowLive, where: Where, tools: Tools) -> Answer:
    meant = _meant(request.targets, where)
    if isinstance(meant, Answer):
        return meant
    live: list[str] = []
    others: list[str] = []
    for device in meant[0]:
        row = device.row
        chosen = tools.database.read(lambda connection, row=row: store.choice_of(connection, row.id, row.place))  # type: ignore[misc]
        on = tools.announcer.is_live_by_default(row) if chosen is None else chosen
        (live if on else others).append(row.name)
    lines = []
    if live:
        lines.append(f"One message that changes: {_listed(live)}.")
    if others:
        lines.append(f"A new message when a value has moved: {_listed(others)}. `live on` changes that.")
    return Answer("\n".join(lines) or "There are no devices here.")


def _meant(targets: Targets, where: Where) -> tuple[list[Device], list[str]] | Answer:
    """Devices, and places that are meant as a whole; what is said in a place's room is of all of it. Pure."""
    devices = where.chosen(targets)
    if targets.devices or targets.places:
        return (devices, list(targets.places)) if devices else _WHICH
    if where.place is None or where.place == SPACE:
        return _WHICH
    return devices, [where.place]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "")
