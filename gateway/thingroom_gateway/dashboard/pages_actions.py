"""What people do with a device: switch, rename, move, revoke, have alerts. Forms only.

The rules and most of the words are the bot's (bot/commands/): asked here and asked there is the same. May import site,
bot.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from thingroom_common.database import Transaction
from thingroom_gateway.bot.answer import Answer
from thingroom_gateway.bot.commander import Refused
from thingroom_gateway.bot.commands.actuate import what_fits
from thingroom_gateway.bot.commands.alert import (
    answer_add_alert,
    answer_remove_alert,
    answer_set_preset,
    answer_snooze,
)
from thingroom_gateway.bot.commands.devices_in_and_out import answer_revoke
from thingroom_gateway.bot.commands.manage import answer_move, answer_rename
from thingroom_gateway.bot.conversation import Where
from thingroom_gateway.bot.requests import (
    AddAlert,
    Condition,
    Move,
    RemoveAlert,
    Rename,
    Revoke,
    SetPreset,
    Snooze,
    Targets,
)
from thingroom_gateway.commands.texts import spoken
from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.pages_devices import KID
from thingroom_gateway.dashboard.site import VISITOR, Site, form_of
from thingroom_gateway.devices import Device

# How long the page waits for the device's word before it is shown without; the word then comes by itself.
WAIT_SECONDS: Final = 1.5
MAX_VALUE: Final = 100
MAX_NUMBER: Final = 999_999_999


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = ActionPages(site)
    return [
        web.post(f"/device/{KID}/command", pages.command),
        web.post(f"/device/{KID}/rename", pages.rename),
        web.post(f"/device/{KID}/move", pages.move),
        web.post(f"/device/{KID}/alert", pages.alert),
        web.get(f"/device/{KID}/revoke", pages.ask_revoke),
        web.post(f"/device/{KID}/revoke", pages.revoke),
    ]


class ActionPages:
    def __init__(self, site: Site) -> None:
        self._site = site
        self._tools = site.tools

    async def command(self, request: web.Request) -> web.StreamResponse:
        device, fields, visitor = await self._site.device_of(request), await form_of(request), request[VISITOR]
        actuator = device.profile.actuators.get(parameters.text(fields, "actuator", MAX_VALUE))
        value = parameters.text(fields, "value", MAX_VALUE)
        if actuator is None:
            raise parameters.Bad(f"{device.row.name} has no such thing to switch or set.")
        if actuator.accept(value) is None:
            raise parameters.Bad(f"{device.row.name} cannot do that. {actuator.title}: {what_fits(actuator)}.")
        if not await self._tools.people.may_change(visitor.person, device.row.place):
            return self._site.problem(request, 403, "Sorry, that is for those who may change its room.")
        outcome = await self._site.parts.queue.request(device, actuator.name, value, visitor.person, None)
        page = f"/device/{device.kid_hex}"
        if isinstance(outcome, Refused):
            return self._site.back(visitor, page, outcome.reason, done=False)
        told = await self._site.parts.queue.outcome(outcome.id, WAIT_SECONDS)
        if told is not None:
            text = spoken(device.row.name, device.profile, told)
            return self._site.back(visitor, page, text, done=told.outcome == "done")
        waits = " It sleeps, and will do it when it wakes." if device.profile.sleeps else ""
        return self._site.back(visitor, page, f"{actuator.title} {value}: on its way.{waits}")

    async def rename(self, request: web.Request) -> web.StreamResponse:
        device, name = await self._site.device_of(request), parameters.text(await form_of(request), "name")
        where = self._where(request, device)
        return await self._do(request, device, await answer_rename(Rename((device.row.id,), name), where, self._tools))

    async def move(self, request: web.Request) -> web.StreamResponse:
        device, place = await self._site.device_of(request), parameters.text(await form_of(request), "place")
        where = self._where(request, device)
        return await self._do(request, device, await answer_move(Move((device.row.id,), place), where, self._tools))

    async def alert(self, request: web.Request) -> web.StreamResponse:
        """Turn an alert on or off, snooze it, make a new one: `do` says which."""
        device, fields = await self._site.device_of(request), await form_of(request)
        where, targets = self._where(request, device), Targets(devices=(device.row.id,))
        match fields.get("do"):
            case "off":
                number = parameters.number(fields, "number", 1, MAX_NUMBER, 0)
                answer = await answer_remove_alert(RemoveAlert(number), where, self._tools)
            case "on":
                name = parameters.text(fields, "preset", MAX_VALUE)
                answer = await answer_set_preset(SetPreset(name, True, targets), where, self._tools)
            case "snooze":
                number = parameters.number(fields, "number", 1, MAX_NUMBER, 1)
                answer = await answer_snooze(Snooze(number), where, self._tools)
            case "above" | "below" as kind:
                wanted = Targets(devices=targets.devices, quantities=(parameters.text(fields, "quantity", MAX_VALUE),))
                condition = Condition(kind, threshold=parameters.decimal(fields, "threshold"))
                answer = await answer_add_alert(AddAlert(wanted, condition), where, self._tools)
            case _:
                raise parameters.Bad("An alert can be turned on or off, snoozed, or made anew.")
        return await self._do(request, device, answer, "#alerts")

    async def ask_revoke(self, request: web.Request) -> web.StreamResponse:
        device = await self._site.device_of(request)
        if not await self._tools.people.is_owner(request[VISITOR].person):
            return self._site.problem(request, 403, "Sorry, that is for the owner.")
        return self._site.page(request, "revoke.html", device=device)

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        device = await self._site.device_of(request)
        where = self._where(request, device, confirmed=True)
        return await self._do(request, device, await answer_revoke(Revoke((device.row.id,)), where, self._tools))

    async def _do(self, request: web.Request, device: Device, answer: Answer, part: str = "") -> web.StreamResponse:
        """Carry out what the bot would, and say what it would say; `part` is where on the page to go back to."""
        if answer.refused:
            return self._site.problem(request, 403, answer.text)
        if answer.writes:
            await self._tools.database.write(lambda transaction: _write_all(transaction, answer))
        if answer.then is not None:
            answer.then()
        to = "/pair" if (await form_of(request)).get("back") == "pair" else f"/device/{device.kid_hex}{part}"
        return self._site.back(request[VISITOR], to, answer.text, bool(answer.writes))

    @staticmethod
    def _where(request: web.Request, device: Device, confirmed: bool = False) -> Where:
        return Where("", "", request[VISITOR].person, device.row.place, [device], confirmed)


def _write_all(transaction: Transaction, answer: Answer) -> None:
    for write in answer.writes:
        write(transaction)
