"""pair, revoke, replace: which devices there are. For the owner."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import datetime

import segno

from thingroom_common.database import Transaction
from thingroom_gateway.bot.answer import Answer, Attachment, with_code
from thingroom_gateway.bot.conversation import Tools, Where, polite_refusal
from thingroom_gateway.bot.requests import EndPairing, Pair, Replace, Revoke
from thingroom_gateway.devices import REVOKED
from thingroom_gateway.storage import alerts as alert_store
from thingroom_gateway.storage import bot as bot_store

_OWNER = "the owner"


async def answer_pair(request: Pair, where: Where, tools: Tools) -> Answer:
    if not await tools.people.is_owner(where.person):
        return polite_refusal(_OWNER)
    window = tools.pairing.open(request.minutes)
    text = (
        f"Pairing is open for {request.minutes} minutes. Type or scan this on the new device:\n`{window.code}`\n"
        "Whoever has the code can let a device in, so I take it back afterwards."
    )
    until = tools.now_ms() + request.minutes * 60_000
    private = Answer(text, with_code(text), [qr_picture(window.code)], secret_until=until)
    if where.place is None:
        return private
    return Answer("Pairing is open. You have the code in our direct chat.", privately=private)


def qr_picture(code: str) -> Attachment:
    """The code as a QR code, a PNG. Without spaces, as scanners hand it over."""
    buffer = io.BytesIO()
    made = segno.make(code.replace(" ", ""), error="m", micro=False)
    made.save(buffer, kind="png", scale=8, border=4)
    size = made.symbol_size(scale=8, border=4)
    return Attachment(
        buffer.getvalue(), "image/png", "pairing.png", "The pairing code as a QR code", (int(size[0]), int(size[1]))
    )


async def answer_end_pairing(request: EndPairing, where: Where, tools: Tools) -> Answer:
    if not await tools.people.is_owner(where.person):
        return polite_refusal(_OWNER)
    tools.pairing.close()
    now = tools.now_ms()
    return Answer("Pairing is closed.", writes=[lambda transaction: bot_store.end_secrets(transaction, now)])


async def answer_revoke(request: Revoke, where: Where, tools: Tools) -> Answer:
    device = where.one(request.devices)
    if isinstance(device, Answer):
        return device
    if not await tools.people.is_owner(where.person):
        return polite_refusal(_OWNER)
    name, before = device.row.name, device.row
    if not where.confirmed:
        return Answer(
            f"Revoke {name}? It cannot come back with its key. 👍 or `yes` within five minutes does it.",
            question=Revoke((before.id,)),
        )
    after = replace(before, status=REVOKED)
    return Answer(
        f"{name} is revoked: I take nothing from it any more. What it said stays.",
        writes=[lambda transaction: tools.enrolment.describe(transaction, before, after)],
    )


async def answer_replace(request: Replace, where: Where, tools: Tools) -> Answer:
    old, new = where.one(request.old), where.one(request.new)
    if isinstance(old, Answer):
        return old
    if isinstance(new, Answer):
        return new
    if not await tools.people.is_owner(where.person):
        return polite_refusal(_OWNER)
    if old.row.id == new.row.id:
        return Answer("A device cannot replace itself.")
    if old.row.profile != new.row.profile:
        return Answer(
            f"{new.row.name} is another kind of device ({new.profile.title}, not {old.profile.title})."
            " Revoke the old one and rename the new one instead."
        )
    if not where.confirmed:
        return Answer(
            f"{new.row.name} ({new.kid_hex[:4]}) becomes {old.row.name} in {old.row.place}, and the old key"
            f" ({old.kid_hex[:4]}) is revoked. 👍 or `yes` within five minutes does it.",
            question=Replace((old.row.id,), (new.row.id,)),
        )
    day = datetime.fromtimestamp(tools.now_ms() / 1000, tools.zone)
    retired = replace(old.row, status=REVOKED, name=f"{old.row.name[:48]} (until {day:%Y-%m-%d})")
    renewed = replace(new.row, name=old.row.name, place=old.row.place)

    def write(transaction: Transaction) -> None:
        tools.enrolment.describe(transaction, old.row, retired, replaced_by=new.kid_hex)
        tools.enrolment.describe(transaction, new.row, renewed, replaces=old.kid_hex)
        alert_store.move_rules(transaction, old.row.id, new.row.id)

    def reload() -> None:
        tools.alerts.reload(old.row.id)
        tools.alerts.reload(new.row.id)

    return Answer(f"{old.row.name} has a new key now; the old one counts no more.", writes=[write], then=reload)
