"""The power goes at random instants, again and again: no number is used twice, nothing that was stored is lost.

12 cuts, half of them on the unix port, or as many as THINGROOM_HIL_CUTS says; `make hil-soak` takes thousands.
"""

from __future__ import annotations

import asyncio
import os
import random
from decimal import Decimal

import pytest
from hil.conftest import Bench
from hil.flows.house import SECONDS, THERMOMETER, House

CUTS = int(os.environ.get("THINGROOM_HIL_CUTS", "12"))
LONGEST_LIFE = 2.0

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.timeout(300 + 20 * CUTS)
async def test_power_cuts_at_any_instant(house: House, bench: Bench) -> None:
    board, record, chance = bench.board, bench.record, random.Random(CUTS)
    board.configure(house.settings(board, bench.called("Cellar"), "serial", **THERMOMETER, interval_ms=200))
    await board.power_on()
    kid = (await board.console.event("key"))["kid"]
    await board.console.event("enrolled")
    # The unix port has taken its share of cuts in the tests of the node.
    for number in range(CUTS if bench.record.board == "cortex-m3" else CUTS // 2):
        # Some while it starts, some while it stores, signs and sends.
        await asyncio.sleep(chance.uniform(0, LONGEST_LIFE))
        record.note("power cut", str(number + 1))
        await board.cut_power()
        mark = board.console.mark()
        await board.power_on()
        if number % 3 == 0:
            await board.console.event("sampled", SECONDS, mark)
    await board.set_sensor("tmp105", "temperature", Decimal("4.5"))
    mark = board.console.mark()
    await board.console.event("acknowledged", SECONDS, mark)
    key = board.console.events()
    assert {event["kid"] for event in key if event["event"] == "key"} == {kid}
    room = await house.owner.room(bench.called("Cellar"))
    readings = await house.settle(board, record, room, kid)
    assert len(readings) >= CUTS // 6
    assert readings[-1].records[0][2] == Decimal("4.5")
