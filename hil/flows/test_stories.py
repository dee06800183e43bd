"""Stories that every board lives through: known by code or by key, told what to do, cut off from the gateway."""

from __future__ import annotations

import asyncio
import time

import pytest
from hil.boards.board import Cannot
from hil.conftest import Bench
from hil.flows.house import LAMP, SECONDS, THERMOMETER, House

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_known_by_its_key(house: House, bench: Bench) -> None:
    """The owner reads the board's keys from its console, and gives it the gateway's; no code, no pairing."""
    board, record = bench.board, bench.record
    board.configure(house.settings(board, bench.called("Attic"), "serial", **THERMOMETER, pairing_code=""))
    await board.power_on()
    key = await board.console.event("key")
    await board.console.event("waiting")
    await board.console.event("sampled")
    await board.power_off()
    keys = {"device_key": key["key"], "agreement_key": key["agreement_key"]}
    known = await house.gateway.ask("enrol", name=bench.called("Attic"), profile="lm75", **keys)
    assert known["device"] == key["kid"], known
    gateway = {"key": known["gateway_key"], "agreement_key": known["gateway_agreement_key"]}
    board.configure(
        house.settings(board, bench.called("Attic"), "serial", **THERMOMETER, pairing_code="", gateway=gateway)
    )
    mark = board.console.mark()
    await board.power_on()
    await board.console.event("acknowledged", SECONDS, mark)
    readings = await house.settle(board, record, await house.owner.room(bench.called("Attic")), key["kid"])
    assert readings[0].sequence == min(record.sampled)


async def test_a_lamp_is_switched(house: House, bench: Bench) -> None:
    """Somebody says so in the room; the pin moves; the room has the board's signed word for it."""
    board, record, owner = bench.board, bench.record, house.owner
    board.configure(house.settings(board, bench.called("Lamp"), "serial", **LAMP, interval_ms=60_000))
    await board.power_on()
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("enrolled")
    await board.console.event("clock")
    room = await owner.room(bench.called("Lamp"))
    for value, shown in (("on", True), ("off", False)):
        record.note("said", await owner.ask(room, f"!{bench.called('Lamp')} {value}"))
        async with asyncio.timeout(SECONDS):
            while (
                not (proven := await house.readings(owner.client, room, kid)) or proven[-1].records[0][4] is not shown
            ):
                await asyncio.sleep(0.2)
        # What it has signed is so.
        try:
            assert await board.read_actuator("led0") == value
        except Cannot as cannot:
            record.note("not looked at", str(cannot))
    await house.settle(board, record, room, kid)


async def test_the_cable_comes_loose(house: House, bench: Bench) -> None:
    """Readings wait on the board while nothing gets through, and arrive afterwards, each once."""
    board, record = bench.board, bench.record
    board.configure(house.settings(board, bench.called("Porch"), "serial", **THERMOMETER))
    await board.power_on()
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("acknowledged")
    record.note("cable loose")
    bench.wire.is_broken = True
    before = len(record.sampled)
    async with asyncio.timeout(SECONDS):
        while len(record.sampled) < before + 4:
            await asyncio.sleep(0.1)
    record.note("cable mended")
    bench.wire.is_broken = False
    mark = board.console.mark()
    await board.console.event("acknowledged", SECONDS, mark)
    await house.settle(board, record, await house.owner.room(bench.called("Porch")), kid)


async def test_the_reset_button(house: House, bench: Bench) -> None:
    """A reset is a power cut that only the chip notices."""
    board, record = bench.board, bench.record
    board.configure(house.settings(board, bench.called("Hall"), "serial", **THERMOMETER))
    await board.power_on()
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("acknowledged")
    mark = board.console.mark()
    await board.reset()
    assert (await board.console.event("key", SECONDS, mark))["kid"] == kid
    await board.console.event("acknowledged", SECONDS, mark)
    await house.settle(board, record, await house.owner.room(bench.called("Hall")), kid)


async def test_it_wakes_without_the_time(house: House, bench: Bench) -> None:
    """Readings of a board that does not know the time yet are dated when it has learned it."""
    board, record = bench.board, bench.record
    board.configure(house.settings(board, bench.called("Shed"), "serial", **THERMOMETER))
    began = time.time()
    await board.power_on()
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("acknowledged")
    await board.cut_power()
    record.note("power cut, cable loose")
    bench.wire.is_broken = True
    mark, first = board.console.mark(), len(record.sampled)
    await board.power_on()
    async with asyncio.timeout(SECONDS):
        while len(record.sampled) < first + 3:
            await asyncio.sleep(0.1)
    unset = record.sampled[first : first + 3]
    bench.wire.is_broken = False
    record.note("cable mended")
    await board.console.event("clock", SECONDS, mark)
    await house.settle(board, record, await house.owner.room(bench.called("Shed")), kid)
    rows = house.query(
        "SELECT m.sequence, m.time FROM samples m JOIN series s ON s.id = m.series"
        " JOIN devices d ON d.id = s.device WHERE lower(hex(d.kid)) = ?",
        kid,
    )
    times = {sequence: milliseconds / 1000 for sequence, milliseconds in rows}
    dated = [times[number] for number in unset]
    assert began - 5 < dated[0] < dated[1] < dated[2] < time.time() + 5, dated
