"""The time by NTP: the packets, what the clock takes of it, and the node on MicroPython beside a small NTP server."""

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.micropython_runner import run_source
from tests.node.node_process import NodeProcess, node_settings

from thingroom_node import clock
from thingroom_node.clock import Clock
from thingroom_node.links import ntp
from thingroom_wire.envelope import DRIFTING, SYNCHRONISED, UNSET

NONCE = bytes(range(1, 9))
MOMENT = 1_900_000_000_123
HOUR = 3600_000


def timestamp(unix: int) -> bytes:
    seconds, milliseconds = divmod(unix, 1000)
    fraction = -(-(milliseconds << 32) // 1000)
    return ((seconds + ntp.EPOCH) % ntp.ERA).to_bytes(4, "big") + fraction.to_bytes(4, "big")


def answer(nonce: bytes, received: int = MOMENT, sent: int = MOMENT, first: int = 0x24, stratum: int = 2) -> bytes:
    return bytes((first, stratum)) + bytes(22) + nonce + timestamp(received) + timestamp(sent)


@given(st.integers(0, 4_000_000_000_000), st.integers(0, 1000))
def test_the_time_half_way_is_read_also_after_2036(unix: int, took: int) -> None:
    # From 1900 + 2^31 s (1968) on until the same of the next era.
    assert ntp.parse(answer(NONCE, unix, unix + took), NONCE) == (2 * unix + took) // 2


def test_what_is_no_answer_is_none() -> None:
    assert ntp.parse(answer(NONCE), NONCE) == MOMENT
    assert ntp.parse(answer(NONCE)[:47], NONCE) is None
    assert ntp.parse(answer(bytes(8)), NONCE) is None
    assert ntp.parse(answer(NONCE, first=0xE4), NONCE) is None
    assert ntp.parse(answer(NONCE, first=0x23), NONCE) is None
    for stratum in (0, 16):
        assert ntp.parse(answer(NONCE, stratum=stratum), NONCE) is None
    assert ntp.parse(answer(NONCE, MOMENT, MOMENT - 1000), NONCE) is None
    assert ntp.parse(answer(NONCE)[:32] + bytes(16), NONCE) is None
    assert len(ntp.request(NONCE)) == 48 and ntp.request(NONCE)[0] == 0x23


@given(st.binary(max_size=200))
def test_hostile_bytes_are_none(data: bytes) -> None:
    assert ntp.parse(data, NONCE) is None


def test_a_hint_dates_readings_and_decides_nothing() -> None:
    uptime = [10_000]
    ours = Clock(lambda: uptime[0])
    assert ours.wants_hint() and ours.hint(MOMENT, 9_900)
    assert ours.now() == (SYNCHRONISED, 10_000, MOMENT + 50) and ours.vouched().state == UNSET
    assert not ours.wants_hint()
    uptime[0] += HOUR + 1
    assert ours.wants_hint()
    # The gateway's word replaces it.
    assert ours.learn(5_000_000, uptime[0]) and ours.now().unix == ours.vouched().unix == 5_000_000
    assert not ours.wants_hint() and not ours.hint(MOMENT, uptime[0])


def test_a_hint_moves_the_gateways_time_no_further_than_a_crystal_drifts() -> None:
    uptime = [0]
    ours = Clock(lambda: uptime[0])
    ours.learn(1_000_000, 0)
    uptime[0] = 4 * HOUR
    assert ours.now().state == DRIFTING and ours.wants_hint()
    truth = 1_000_000 + 4 * HOUR
    assert not ours.hint(truth + 20_000, uptime[0]) and ours.now().state == DRIFTING
    assert ours.hint(truth + 5_000, uptime[0])
    assert ours.now() == (SYNCHRONISED, 4 * HOUR, truth + 5_000)
    assert ours.vouched() == (DRIFTING, 4 * HOUR, truth)
    # It cannot be led away in small steps.
    uptime[0] += HOUR + 1
    assert not ours.hint(truth + HOUR + 15_000, uptime[0])


def test_the_drift_is_measured_and_made_up_for() -> None:
    """A counter that is 100 ppm slow."""
    uptime = [0]
    ours = Clock(lambda: uptime[0])
    for hour in range(4):
        uptime[0] = hour * HOUR * 9_999 // 10_000
        ours.learn(hour * HOUR, uptime[0])
    assert 95 <= ours.drift_ppm <= 105
    uptime[0] = 20 * HOUR * 9_999 // 10_000
    moment = ours.now()
    assert moment.state == DRIFTING and abs(moment.unix - 20 * HOUR) < 400
    # What no crystal does is a clock that was set.
    ours.learn(99 * HOUR, uptime[0])
    assert 95 <= ours.drift_ppm <= 105 and ours.now().unix == 99 * HOUR
    assert clock.MAX_DRIFT_PPM == 500


class Server(asyncio.DatagramProtocol):
    """Answers every request, the first one wrongly."""

    def __init__(self) -> None:
        self.requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, address: tuple) -> None:
        self.requests += 1
        self._transport.sendto(answer(bytes(8)), address)
        self._transport.sendto(b"nonsense", address)
        self._transport.sendto(answer(data[40:48]), address)


async def test_a_node_without_a_gateway_dates_its_readings(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(Server, ("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    settings = node_settings(tmp_path, ntp=f"127.0.0.1:{port}", interval_ms=200)
    async with NodeProcess(tmp_path, settings) as node:
        await node.event("clock", state="hinted")
    transport.close()
    assert server.requests == 1


SET = """
from thingroom_node import board
class RTC:
    def datetime(self, parts):
        print(parts)
class Machine:
    RTC = RTC
board.set_clock({unix})
board.machine = Machine
board.set_clock({unix})
"""


@pytest.mark.parametrize(("unix", "parts"), [(MOMENT, "(2030, 3, 17, 6, 17, 46, 40, 0)")])
def test_the_chips_clock_is_set(unix: int, parts: str) -> None:
    assert run_source(SET.format(unix=unix)).strip() == parts
