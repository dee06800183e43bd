"""The client format of events."""

from tests.synapse_peer.room_generator import ALICE, BOB, build

from thingroom_homeserver.core.client_event import stripped_state, to_client_event
from thingroom_homeserver.core.room_rules import ROOM_RULES

ROOM = "!" + "a" * 43


def test_a_message_shows_what_clients_know_and_no_more():
    event = build(ROOM_RULES["12"], ROOM, "m.room.message", ALICE, {"body": "x"})
    assert to_client_event(event) == {
        "type": "m.room.message",
        "sender": ALICE,
        "event_id": event.event_id,
        "room_id": ROOM,
        "origin_server_ts": event.origin_server_ts,
        "content": {"body": "x"},
    }
    assert "room_id" not in to_client_event(event, with_room_id=False)


def test_unsigned_holds_what_is_given():
    event = build(ROOM_RULES["12"], ROOM, "m.room.topic", ALICE, {}, state_key="")
    given = {
        "age": 0,
        "transaction_id": "t",
        "prev_content": {},
        "replaces_state": "$x",
        "redacted_because": {"type": "m.room.redaction"},
        "membership": "leave",
    }
    shown = to_client_event(event, more_unsigned={"m.relations": {}}, **given)
    assert shown["unsigned"] == given | {"m.relations": {}}
    assert shown["state_key"] == ""


def test_redactions_show_their_target_in_both_places():
    for version in ("10", "11"):
        event = build(ROOM_RULES[version], "!room:one.test", "m.room.redaction", ALICE, {"reason": "r"}, redacts="$t")
        shown = to_client_event(event)
        assert shown["redacts"] == "$t" and shown["content"] == {"reason": "r", "redacts": "$t"}
    assert "redacts" in event.content and "redacts" not in event.pdu


def test_a_create_event_of_version_12_shows_its_room():
    create = build(ROOM_RULES["12"], None, "m.room.create", ALICE, {}, state_key="")
    assert to_client_event(create)["room_id"] == create.room_id


def test_stripped_state():
    event = build(ROOM_RULES["12"], ROOM, "m.room.member", ALICE, {"membership": "invite"}, state_key=BOB)
    assert stripped_state(event) == {
        "type": "m.room.member",
        "state_key": BOB,
        "sender": ALICE,
        "content": {"membership": "invite"},
    }
