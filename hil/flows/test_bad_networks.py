"""Over networks that lose, delay, reorder, double, spoil and cut: every reading arrives, and each once."""

from __future__ import annotations

import asyncio

import pytest
from hil.conftest import Bench
from hil.flows.house import SECONDS, THERMOMETER, House
from hil.flows.proxies import Weather, tcp_proxy, udp_proxy
from hil.record import Record

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.parametrize("bench", ["unix"], indirect=True),
]
STORM = Weather(lost=0.15, doubled=0.15, spoilt=0.05, late=0.2)


async def more(record: Record, count: int) -> None:
    """Wait until the board has made so many more readings."""
    goal = len(record.sampled) + count
    async with asyncio.timeout(SECONDS):
        while len(record.sampled) < goal:
            await asyncio.sleep(0.05)


async def test_mqtt_that_is_cut_and_slow(house: House, bench: Bench) -> None:
    board, record = bench.board, bench.record
    async with tcp_proxy(house.broker.port) as network:
        settings = house.settings(board, "Mast", "mqtt", **THERMOMETER, interval_ms=200)
        board.configure({**settings, "port": network.port})
        await board.power_on()
        kid = (await board.console.event("key"))["kid"]
        await board.console.event("acknowledged")
        for _ in range(2):
            record.note("network cut")
            network.cut()
            await more(record, 5)
            network.heal()
            record.note("network heals")
            mark = board.console.mark()
            await board.console.event("acknowledged", SECONDS, mark)
        record.note("network slow")
        network.bytes_per_second = 2_000
        await more(record, 8)
        network.bytes_per_second = None
        await house.settle(board, record, await house.owner.room("Mast"), kid)
        assert network.connections >= 3


async def test_coap_in_a_storm(house: House, bench: Bench) -> None:
    board, record = bench.board, bench.record
    async with udp_proxy(house.coap_port) as network:
        settings = house.settings(board, "Beach", "coap", **THERMOMETER, interval_ms=200)
        board.configure({**settings, "port": network.port})
        await board.power_on()
        kid = (await board.console.event("key"))["kid"]
        await board.console.event("acknowledged")
        record.note("storm")
        network.weather = STORM
        await more(record, 20)
        mark = board.console.mark()
        await board.console.event("acknowledged", 2 * SECONDS, mark)
        record.note("cut")
        network.is_cut = True
        await more(record, 5)
        network.is_cut, network.weather = False, Weather()
        record.note("calm", str(dict(network.harm)))
        await house.settle(board, record, await house.owner.room("Beach"), kid)
        assert network.harm["lost"], network.harm
