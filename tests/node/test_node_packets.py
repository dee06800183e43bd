"""The packet formats on CPython: round trips, every way of cutting a stream, hostile bytes, other people's code."""

import aiocoap
import pytest
from amqtt.mqtt.connect import ConnectPacket
from amqtt.mqtt.publish import PublishPacket
from amqtt.mqtt.subscribe import SubscribePacket
from hypothesis import example, given
from hypothesis import strategies as st

from thingroom_node.links import coap_message, mqtt_packets
from thingroom_node.links.coap_message import Message, MessageError
from thingroom_node.links.mqtt_packets import PacketError, PacketReader

topics = st.text(st.characters(exclude_characters="\0#+", exclude_categories=["Cs"]), min_size=1, max_size=30)
packet_ids = st.integers(1, 65535)

publications = st.builds(
    lambda topic, payload, packet_id, retain, dup: (
        mqtt_packets.publish(topic, payload, packet_id, retain, dup),
        mqtt_packets.Publish(topic, payload, 1, retain, dup, packet_id),
    ),
    topics,
    st.binary(max_size=300),
    packet_ids,
    st.booleans(),
    st.booleans(),
)
pubacks = packet_ids.map(lambda packet_id: (mqtt_packets.puback(packet_id), mqtt_packets.Puback(packet_id)))
others = st.sampled_from(
    [
        (b"\x20\x02\x01\x00", mqtt_packets.Connack(True, 0)),
        (b"\x20\x02\x00\x05", mqtt_packets.Connack(False, 5)),
        (b"\x90\x03\x00\x07\x80", mqtt_packets.Suback(7, b"\x80")),
        (b"\xd0\x00", mqtt_packets.Pingresp()),
        (b"\x30\x05\x00\x01tab", mqtt_packets.Publish("t", b"ab", 0, False, False, 0)),
    ]
)


@given(st.lists(st.one_of(publications, pubacks, others), max_size=6), st.lists(st.integers(1, 50), max_size=40))
def test_packets_come_out_whole_however_the_stream_is_cut(packets: list, cuts: list[int]) -> None:
    stream = b"".join(encoded for encoded, _ in packets)
    reader = PacketReader()
    found = []
    for cut in cuts:
        found += reader.feed(stream[:cut])
        stream = stream[cut:]
    found += reader.feed(stream)
    assert found == [expected for _, expected in packets]


@given(st.lists(st.binary(max_size=60), max_size=8))
@example([b"\x20\x02\x01\x00" * 3])
@example([b"\x32\x80\x80\x01"])
def test_hostile_bytes_give_packets_or_one_error(chunks: list[bytes]) -> None:
    reader = PacketReader()
    try:
        for chunk in chunks:
            for packet in reader.feed(chunk):
                assert isinstance(packet, tuple)
    except PacketError as error:
        assert error.reason.replace("_", "").isalpha()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x30\x81\x80\x01", "packet_too_large"),
        (b"\x30\xff\xff\xff\x7f", "packet_too_large"),
        (b"\x30\x80\x80\x80\x80", "bad_length"),
        (b"\x34\x05\x00\x01t\x00\x01", "malformed_packet"),
        (b"\x32\x05\x00\x01t\x00\x00", "malformed_packet"),
        (b"\x30\x03\x00\x01#", "malformed_packet"),
        (b"\x30\x04\x00\x02\xff\xfe", "bad_utf8"),
        (b"\x30\x02\x00\x05", "malformed_packet"),
        (b"\x21\x02\x00\x00", "bad_flags"),
        (b"\x20\x02\x02\x00", "malformed_packet"),
        (b"\x20\x02\x00\x06", "malformed_packet"),
        (b"\x10\x00", "unexpected_packet"),
        (b"\xc0\x00", "unexpected_packet"),
        (b"\x90\x03\x00\x01\x03", "malformed_packet"),
    ],
)
def test_what_a_broker_may_not_send(data: bytes, reason: str) -> None:
    with pytest.raises(PacketError) as caught:
        PacketReader().feed(data)
    assert caught.value.reason == reason


def test_the_largest_packet_is_taken() -> None:
    payload = bytes(mqtt_packets.MAX_REMAINING - 5)
    (packet,) = PacketReader().feed(mqtt_packets.publish("t", payload, 9))
    assert packet.payload == payload
    with pytest.raises(PacketError):
        PacketReader().feed(mqtt_packets.publish("t", payload + b"x", 9))


async def read_with_amqtt(kind: type, data: bytes) -> object:
    """Let amqtt, which is a broker, read one of our packets."""
    from amqtt.adapters import BufferReader
    from amqtt.mqtt.packet import MQTTFixedHeader

    reader = BufferReader(data)
    header = await MQTTFixedHeader.from_stream(reader)
    assert header is not None
    return await kind.from_stream(reader, fixed_header=header)


async def test_a_broker_reads_what_we_write() -> None:
    connect = mqtt_packets.connect("client", "user", "secret", 60, ("a/status", b"offline"))
    packet = await read_with_amqtt(ConnectPacket, connect)
    assert (packet.client_id, packet.username, packet.password) == ("client", "user", "secret")
    assert (packet.will_topic, bytes(packet.will_message), packet.will_qos) == ("a/status", b"offline", 1)
    assert packet.will_retain_flag and packet.will_flag and not packet.clean_session_flag and packet.keep_alive == 60
    packet = await read_with_amqtt(ConnectPacket, mqtt_packets.connect("client", "pairing", "x", 30, None))
    assert packet.clean_session_flag and not packet.will_flag and packet.username == "pairing"
    packet = await read_with_amqtt(PublishPacket, mqtt_packets.publish("a/up", b"data", 77, True, True))
    assert (packet.topic_name, bytes(packet.data), packet.packet_id) == ("a/up", b"data", 77)
    assert packet.qos == 1 and packet.retain_flag and packet.dup_flag
    packet = await read_with_amqtt(SubscribePacket, mqtt_packets.subscribe(5, "a/down"))
    assert packet.payload.topics == [("a/down", 1)]


options = st.lists(st.tuples(st.integers(0, 65535), st.binary(max_size=300)), max_size=6).map(
    lambda listed: sorted(listed, key=lambda option: option[0])
)
messages = st.builds(
    Message,
    st.integers(0, 3),
    st.integers(1, 255),
    st.integers(0, 65535),
    st.binary(max_size=8),
    options,
    st.binary(max_size=100),
)


@given(messages)
def test_messages_round_trip(message: Message) -> None:
    assert coap_message.parse(coap_message.encode(message)) == message


@given(st.binary(max_size=200))
@example(b"\x40\x01\x00\x01\xff")
@example(b"\x44\x02\x00\x01abcd\xed\xff\xff")
def test_hostile_datagrams_give_a_message_or_an_error(data: bytes) -> None:
    try:
        message = coap_message.parse(data)
    except MessageError as error:
        assert error.reason.replace("_", "").isalpha()
        return
    # Any message that we accept is one that aiocoap accepts, with the same meaning.
    try:
        theirs = aiocoap.Message.decode(data)
    except UnicodeDecodeError:
        # It also looks into text options that mean nothing to us.
        return
    assert (theirs.mid, theirs.token, int(theirs.code), theirs.payload) == (
        message.message_id,
        message.token,
        message.code,
        message.payload,
    )
    assert [int(option.number) for option in theirs.opt.option_list()] == [number for number, _ in message.options]


@given(messages, st.integers(0, 400))
def test_a_cut_message_is_refused_or_is_another_whole_message(message: Message, length: int) -> None:
    data = coap_message.encode(message)[:length]
    try:
        coap_message.parse(data)
    except MessageError:
        return


def test_aiocoap_reads_what_we_write() -> None:
    request = coap_message.encode(coap_message.request(coap_message.POST, 1234, b"tokn", "up", 18, b"payload"))
    theirs = aiocoap.Message.decode(request)
    assert theirs.mtype == aiocoap.CON and theirs.code == aiocoap.POST and theirs.mid == 1234
    assert theirs.token == b"tokn" and theirs.opt.uri_path == ("up",) and int(theirs.opt.content_format) == 18
    assert theirs.payload == b"payload"
    whole = (coap_message.FETCH, 7, b"t", "down", 18, b"hello", 0, 3 << 4 | 6)
    theirs = aiocoap.Message.decode(coap_message.encode(coap_message.request(*whole)))
    assert theirs.code == aiocoap.FETCH and theirs.opt.observe == 0 and theirs.opt.uri_path == ("down",)
    assert tuple(theirs.opt.block2) == (3, False, 6) and int(theirs.opt.content_format) == 18


@given(st.integers(0, 2**32 - 1))
def test_unsigned_options(value: int) -> None:
    encoded = coap_message.encode_uint(value)
    assert not encoded or encoded[0]
    message = Message(2, 0xA3, 1, b"", [(coap_message.MAX_AGE, encoded)], b"")
    assert coap_message.option_uint(message, coap_message.MAX_AGE) == value
    assert coap_message.option_uint(message, 60) is None


def test_codes_as_text() -> None:
    assert coap_message.code_text(0x44) == "2.04" and coap_message.code_text(0xA3) == "5.03"
