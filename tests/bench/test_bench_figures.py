"""The arithmetic behind the benchmarks' tables, and the packets of their publisher."""

import asyncio

import pytest
from bench.measure import quantile
from bench.mqtt_publisher import BrokerRefused, Publisher, connect_packet, publish_packet, publish_packets
from bench.targets import TARGETS, Standing, Target, standings

AT_LEAST = Target("rate", "part.rate", 20, "x")
AT_MOST = Target("start-up", "part.start", 1.0, "s", at_most=True)


@pytest.mark.parametrize(
    ("samples", "fraction", "expected"),
    [
        ([5.0], 0.99, 5.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([1.0, 2.0, 3.0, 4.0], 0.5, 2.0),
        ([float(n) for n in range(1, 101)], 0.99, 99.0),
        ([float(n) for n in range(1, 101)], 0.9, 90.0),
        ([1.0, 2.0], 1.0, 2.0),
        ([1.0, 2.0], 0.0, 1.0),
    ],
)
def test_quantile_is_the_nearest_rank(samples, fraction, expected):
    assert quantile(samples, fraction) == expected


def test_no_samples_have_no_quantile():
    with pytest.raises(ValueError, match="no samples"):
        quantile([], 0.5)


@pytest.mark.parametrize(
    ("target", "measured", "met", "margin"),
    [
        (AT_LEAST, 40.0, True, 2.0),
        (AT_LEAST, 20.0, True, 1.0),
        (AT_LEAST, 10.0, False, 0.5),
        (AT_MOST, 0.25, True, 4.0),
        (AT_MOST, 2.0, False, 0.5),
        (AT_MOST, None, None, None),
    ],
)
def test_a_standing_says_whether_and_by_how_much(target, measured, met, margin):
    standing = Standing(target, measured)
    assert (standing.met, standing.margin) == (met, margin)


def test_what_was_not_measured_is_never_called_met():
    assert {standing.in_words() for standing in standings({})} == {"not measured"}
    found = standings({TARGETS[0].figure: TARGETS[0].bound})
    assert [standing.met for standing in found] == [True] + [None] * (len(TARGETS) - 1)


def test_packets_are_those_of_the_standard():
    # MQTT 3.1.1, 3.1 and 3.3; the remaining length takes a second byte from 128 on (2.2.3).
    assert connect_packet("b") == bytes.fromhex("100d 0004 4d515454 04 02 0000 0001 62")
    assert publish_packet("a/b", b"xy", 10) == bytes.fromhex("3209 0003 612f62 000a 7879")
    assert publish_packet("a", bytes(123), 1)[:3] == bytes.fromhex("32 8001")
    many = publish_packets([("a", b"")] * 65_536)
    assert (many[0][-2:], many[65_534][-2:], many[65_535][-2:]) == (b"\x00\x01", b"\xff\xff", b"\x00\x01")


async def test_the_publisher_notices_what_is_no_acknowledgement():
    async def answer_wrongly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(connect_packet("bench")))
        writer.write(b"\x20\x02\x00\x00")
        await reader.read(100)
        writer.write(b"\xd0\x00\xd0\x00")
        writer.close()

    server = await asyncio.start_server(answer_wrongly, "127.0.0.1", 0)
    async with server, Publisher(server.sockets[0].getsockname()[1]) as publisher:
        with pytest.raises(BrokerRefused):
            await publisher.publish(publish_packets([("a", b"b")]))
