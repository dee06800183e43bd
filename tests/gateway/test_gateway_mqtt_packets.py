"""MQTT packets: any cut of a stream gives the same packets, garbage gives an error, large ones are never held."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thingroom_gateway.links import mqtt_packets as packets
from thingroom_gateway.links.mqtt import MAX_PACKET, filters
from thingroom_gateway.links.mqtt_packets import MQTT_5, MQTT_311, MqttProtocolError, Oversized, Publish, Reader

versions = st.sampled_from([MQTT_311, MQTT_5])
messages = st.lists(
    st.tuples(st.text(max_size=30), st.binary(max_size=300), st.integers(1, 65_535)), min_size=1, max_size=10
)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    places = [0, *sorted(point % (len(data) + 1) for point in points), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(versions, messages, st.lists(st.integers(0, 10_000), max_size=30))
def test_a_stream_may_be_cut_anywhere(version: int, sent: list[tuple[str, bytes, int]], points: list[int]) -> None:
    stream = b"".join(packets.publish(version, packet_id, topic, payload) for topic, payload, packet_id in sent)
    reader = Reader(version, MAX_PACKET)
    found = [packet for part in cut(stream, points) for packet in reader.feed(part)]
    assert found == [Publish(topic.encode(), payload, packet_id, False) for topic, payload, packet_id in sent]


@given(
    versions,
    st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=6),
    st.lists(st.integers(0, 10_000), max_size=30),
)
def test_large_messages_are_skipped_and_not_held(
    version: int, sizes: list[tuple[int, bool]], points: list[int]
) -> None:
    limit, stream, expected = 100, b"", []
    for number, (size, large) in enumerate(sizes, 1):
        payload = bytes(size + 200) if large else b"ok"
        stream += packets.publish(version, number, "some/topic", payload)
        expected.append((Oversized if large else Publish, number))
    reader = Reader(version, limit)
    found = []
    for part in cut(stream, points):
        found += reader.feed(part)
        assert len(reader._buffer) <= limit + 5
    assert [(type(packet), packet.packet_id) for packet in found] == expected  # type: ignore[union-attr]


@given(versions, st.binary(max_size=400), st.lists(st.integers(0, 400), max_size=5))
def test_garbage_is_an_error_or_packets(version: int, data: bytes, points: list[int]) -> None:
    reader = Reader(version, 200)
    try:
        for part in cut(data, points):
            reader.feed(part)
            assert len(reader._buffer) <= 65_535 + 10
    except MqttProtocolError:
        pass


@pytest.mark.parametrize(
    ("version", "data", "expected"),
    [
        (MQTT_311, "20020100", packets.Connack(0, True, 65_535, None)),
        (MQTT_311, "20020005", packets.Connack(5, False, 65_535, None)),
        (MQTT_5, "2009000006210014130019", packets.Connack(0, False, 20, 25)),
        (MQTT_311, "40020007", packets.Puback(7, 0)),
        (MQTT_5, "4003000710", packets.Puback(7, 0x10)),
        (MQTT_311, "9005000101800001"[:14], packets.Suback(1, (1, 0x80, 0))),
        (MQTT_5, "900400010001", packets.Suback(1, (1,))),
        (MQTT_311, "d000", packets.Pingresp()),
        (MQTT_5, "e0018e", packets.Disconnect(0x8E)),
        (MQTT_5, "310800016105010078790a"[:20], None),
    ],
)
def test_packets_by_example(version: int, data: str, expected: packets.Packet | None) -> None:
    if expected is None:
        with pytest.raises(MqttProtocolError):
            Reader(version, 100).feed(bytes.fromhex(data))
    else:
        assert Reader(version, 100).feed(bytes.fromhex(data)) == [expected]


def test_what_a_broker_must_not_send() -> None:
    for data in ("3402000141", "320500016100", "3205000161000000"[:14], "1000", "30ffffffff01", "2001"):
        with pytest.raises(MqttProtocolError):
            Reader(MQTT_311, 100).feed(bytes.fromhex(data) + bytes(8))


def test_filters_of_shards() -> None:
    assert filters("0123456789abcdef") == [f"thingroom/1/+/+/{kind}" for kind in ("up", "hello", "status")]
    assert filters("a0a") == [f"thingroom/1/{digit}/+/{kind}" for digit in "0a" for kind in ("up", "hello", "status")]
