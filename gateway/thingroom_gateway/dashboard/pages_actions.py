"""What people do with a device: switch, rename, move, revoke, and put an alert to sleep. Forms only.

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
from thingroom_gateway.bot.commands.devices_in_and_out import answer_revoke
from thingroom_gateway.bot.commands.manage import answer_move, answer_rename
from thingroom_gateway.bot.conversation import Where
from thingroom_gateway.bot.requests import Move, Rename, Revoke
from thingroom_gateway.commands.texts import spoken
from thingroom_gateway.dashboard import parameters
from thingroom_gateway.dashboard.pages_devices import KID
from thingroom_gateway.dashboard.site import VISITOR, Site, form_of
from thingroom_gateway.devices import Device

# How long the page waits for the device's word before it is shown without; the word then comes by itself.
WAIT_SECONDS: Final = 1.5
MAX_VALUE: Final = 100


def routes(site: Site) -> Sequence[web.RouteDef]:
    pages = ActionPages(site)
    return [
        web.post(f"/device/{KID}/command", pages.command),
        web.post(f"/device/{KID}/rename", pages.rename),
        web.post(f"/device/{KID}/move", pages.move),
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
            return self._not_allowed(request, "those who may change its room")
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
        device, fields, visitor = await self._site.device_of(request), await form_of(request), request[VISITOR]
        name = parameters.text(fields, "name")
        if not await self._tools.people.may_change(visitor.person, device.row.place):
            return self._not_allowed(request, "those who may change its room")
        where = self._where(visitor.person, device)
        return await self._do(request, device, await answer_rename(Rename((device.row.id,), name), where, self._tools))

    async def move(self, request: web.Request) -> web.StreamResponse:
        device, fields, visitor = await self._site.device_of(request), await form_of(request), request[VISITOR]
        place = parameters.text(fields, "place")
        if not await self._tools.people.may_change(visitor.person, device.row.place):
            return self._not_allowed(request, "those who may change both rooms")
        where = self._where(visitor.person, device)
        return await self._do(request, device, await answer_move(Move((device.row.id,), place), where, self._tools))

    async def ask_revoke(self, request: web.Request) -> web.StreamResponse:
        device = await self._site.device_of(request)
        if not await self._tools.people.is_owner(request[VISITOR].person):
            return self._not_allowed(request, "the owner")
        return self._site.page(request, "revoke.html", device=device)

    async def revoke(self, request: web.Request) -> web.StreamResponse:
        device, person = await self._site.device_of(request), request[VISITOR].person
        if not await self._tools.people.is_owner(person):
            return self._not_allowed(request, "the owner")
        where = self._where(person, device, confirmed=True)
        return await self._do(request, device, await answer_revoke(Revoke((device.row.id,)), where, self._tools))

    async def _do(self, request: web.Request, device: Device, answer: Answer) -> web.StreamResponse:
        """Carry out what the bot would, and say what it would say; `back` is the page to go to."""
        done = bool(answer.writes)
        if done:
            await self._tools.database.write(lambda transaction: _write_all(transaction, answer))
        if answer.then is not None:
            answer.then()
        to = "/pair" if (await form_of(request)).get("back") == "pair" else f"/device/{device.kid_hex}"
        return self._site.back(request[VISITOR], to, answer.text, done)

    def _where(self, person: str, device: Device, confirmed: bool = False) -> Where:
        return Where("", "", person, None, [device], confirmed)

    def _not_allowed(self, request: web.Request, needed: str) -> web.StreamResponse:
        return self._site.problem(request, 403, f"Sorry, that is for {needed}.")


def _write_all(transaction: Transaction, answer: Answer) -> None:
    for write in answer.writes:
        write(transaction)
