"""MQTT 5 packets on CPython: what paho packs is read, what breaks the rules is refused, hostile bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from thingroom_node.links import mqtt5_packets, mqtt_packets
from thingroom_node.links.mqtt5_packets import Connack, Disconnect, PacketError, PacketReader, Puback


def properties(kind: int, **values: object) -> bytes:
    """Properties as paho packs them."""
    made = Properties(kind)
    for name, value in values.items():
        setattr(made, name, value)
    return made.pack()


def one(data: bytes) -> object:
    (packet,) = PacketReader().feed(data)
    return packet


def packet(first: int, body: bytes) -> bytes:
    return mqtt_packets.packet(first, body)


def test_a_connack_with_everything() -> None:
    packed = properties(
        PacketTypes.CONNACK,
        SessionExpiryInterval=5,
        ReceiveMaximum=12,
        MaximumQoS=1,
        RetainAvailable=1,
        MaximumPacketSize=4000,
        AssignedClientIdentifier="other",
        TopicAliasMaximum=3,
        ReasonString="welcome",
        UserProperty=[("a", "b"), ("a", "c")],
        WildcardSubscriptionAvailable=1,
        SubscriptionIdentifierAvailable=1,
        SharedSubscriptionAvailable=0,
        ServerKeepAlive=30,
        ResponseInformation="r",
        ServerReference="elsewhere",
        AuthenticationMethod="m",
        AuthenticationData=b"\x00\xff",
    )
    assert one(packet(0x20, b"\x01\x00" + packed)) == Connack(True, 0, 12, 4000, 30, 1)
    assert one(b"\x20\x03\x00\x00\x00") == Connack(False, 0, 65535, None, None, 2)
    assert one(b"\x20\x02\x00\x01").code == 1


def test_the_others() -> None:
    assert one(b"\x40\x02\x00\x07") == Puback(7, 0)
    why = properties(PacketTypes.PUBACK, ReasonString="full")
    assert one(packet(0x40, b"\x00\x07\x97" + why)) == Puback(7, 0x97)
    assert one(packet(0x90, b"\x00\x07\x00\x01")) == mqtt_packets.Suback(7, b"\x01")
    assert one(packet(0x90, b"\x00\x07\x00\x87")) == mqtt_packets.Suback(7, b"\x80")
    assert one(b"\xe0\x00") == Disconnect(0) and one(b"\xe0\x01\x8b") == Disconnect(0x8B)
    assert one(b"\xd0\x00") == mqtt_packets.Pingresp()
    extra = properties(PacketTypes.PUBLISH, SubscriptionIdentifier=[1, 300], ContentType="c", MessageExpiryInterval=9)
    found = one(packet(0x32, b"\x00\x01t\x00\x05" + extra + b"payload"))
    assert found == mqtt_packets.Publish("t", b"payload", 1, False, False, 5)
    ours = mqtt5_packets.publish("a/b", b"x", 9, retain=True, dup=True)
    assert one(ours) == mqtt_packets.Publish("a/b", b"x", 1, True, True, 9)


@pytest.mark.parametrize(
    "body",
    [
        b"\x20\x06\x00\x00\x03\x21\x00\x00",
        b"\x20\x09\x00\x00\x06\x21\x00\x01\x21\x00\x01",
        b"\x20\x05\x00\x00\x02\x7f\x00",
        b"\x20\x04\x00\x00\x05\x21",
        b"\x20\x05\x00\x00\x02\x21\x00",
        b"\x20\x02\x00\x00",
        b"\x40\x03\x00\x00\x00",
        b"\x90\x03\x00\x07\x00",
        b"\x32\x09\x00\x01t\x00\x05\x03\x23\x00\x01",
        b"\xf0\x02\x00\x00",
    ],
)
def test_what_is_malformed_is_refused(body: bytes) -> None:
    with pytest.raises(PacketError):
        PacketReader().feed(body)


@given(st.sampled_from([0x20, 0x30, 0x32, 0x40, 0x90, 0xD0, 0xE0]), st.binary(max_size=60))
def test_hostile_bytes_give_packets_or_one_error(first: int, body: bytes) -> None:
    try:
        packets = PacketReader().feed(packet(first, body))
    except PacketError:
        return
    assert len(packets) == 1


def test_reasons_are_words() -> None:
    assert mqtt5_packets.reason_of(0x87) == "not_authorised" and mqtt5_packets.reason_of(0x99) == "reason_153"
