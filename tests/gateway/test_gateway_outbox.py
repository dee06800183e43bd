"""The way into the rooms against a homeserver with troubles: down, slow, full, forgetful; and provisioning twice."""

from __future__ import annotations

import asyncio
import base64
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gateway.fake_homeserver import SERVER, FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, gateway

from thingroom_gateway.app import Gateway
from thingroom_gateway.appservice import AppserviceClient, Done, Later, Refused, _end
from thingroom_gateway.config import BatchConfig, GatewayConfig
from thingroom_gateway.outcomes import Frame, Outcome
from thingroom_gateway.storage import outbox as rows
from thingroom_wire.envelope import parse_envelope


class Door:
    """A link of the tests: offers frames and remembers outcomes."""

    def __init__(self, running: Gateway) -> None:
        self._ingest = running.ingest
        self.outcomes: list[Outcome] = []

    async def send(self, *payloads: bytes) -> None:
        before = len(self.outcomes)
        for payload in payloads:
            assert self._ingest.offer(Frame("up", payload, "coap"), self)
        await eventually(lambda: len(self.outcomes) == before + len(payloads))

    def settled(self, settled: list[tuple[Frame, Outcome]]) -> None:
        self.outcomes += [outcome for _, outcome in settled]

    def resume(self) -> None:
        raise AssertionError("the tests offer less than there is room for")


def parked(running: Gateway) -> int:
    return running.core.database.read(rows.sizes)[1]


async def test_rooms_ghosts_and_state_are_as_designed(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    kitchen, cellar = Thing(1, "Kitchen"), Thing(2, "Cellar", profile="soil")
    async with gateway(config, kitchen, cellar) as running:
        await Door(running).send(kitchen.envelope(), cellar.envelope())
        await eventually(lambda: homeserver.sequences(kitchen.hex) == [1] == homeserver.sequences(cellar.hex))
    rooms = {room.create["name"]: room for room in homeserver.rooms.values()}
    assert set(rooms) == {"Home", "Kitchen", "Cellar"}
    space = rooms["Home"]
    assert space.create["creation_content"] == {"type": "m.space"}
    for name, thing in (("Kitchen", kitchen), ("Cellar", cellar)):
        room, ghost = rooms[name], f"@thing_{thing.hex}:{SERVER}"
        levels = room.create["power_level_content_override"]
        assert levels["users"] == {f"@owner:{SERVER}": 100}
        assert levels["events"]["org.thingroom.device"] == 150, "people cannot write the state of devices"
        assert room.create["invite"] == [f"@owner:{SERVER}"]
        assert ("m.space.parent", space.room_id) in room.state
        assert space.state["m.space.child", room.room_id]["via"] == [SERVER]
        assert ghost in room.joined
        assert homeserver.users[ghost] == name
        state = room.state["org.thingroom.device", thing.hex]
        assert (state["profile"], state["name"], state["status"]) == (thing.profile, name, "active")
        assert thing.public in base64.b64decode(state["key"] + "==")
    assert homeserver.aliases[f"#thingroom_kitchen:{SERVER}"] == rooms["Kitchen"].room_id


async def test_the_creator_is_listed_before_room_version_12(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    homeserver.default_version = "10"
    async with gateway(config, Thing()):
        await eventually(lambda: len(homeserver.rooms) == 2)
    users = homeserver.rooms["!room1"].create["power_level_content_override"]["users"]
    assert users == {f"@owner:{SERVER}": 100, f"@thingroom:{SERVER}": 100}


async def test_provisioning_is_idempotent_over_restarts(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    for round_ in (1, 2, 3):
        async with gateway(config, thing) as running:
            await Door(running).send(thing.envelope())
            await eventually(lambda n=round_: len(homeserver.sequences(thing.hex)) == n)  # type: ignore[misc]
    asked = [path for _, path in homeserver.requests]
    assert sum("createRoom" in path for path in asked) == 2
    assert sum("register" in path for path in asked) == 2
    assert sum("/join/" in path for path in asked) == 2


async def test_a_room_made_before_a_crash_is_found_by_its_alias(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    """The homeserver made Space, room and ghost, and every answer was lost."""
    homeserver.faults.append(Fault(drop=True, commit=True, match="createRoom", times=1))
    homeserver.faults.append(Fault(drop=True, commit=True, match="register", times=1))
    homeserver.faults.append(Fault(drop=True, commit=True, match="/join/", times=1))
    thing = Thing()
    async with gateway(config, thing) as running:
        await Door(running).send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])
    assert len(homeserver.rooms) == 2


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, body={"errcode": "M_UNKNOWN"}, times=2),
        Fault(status=502, times=2),
        Fault(status=429, body={"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 300}, times=1),
        Fault(status=429, headers={"Retry-After": "1"}, times=1),
        Fault(status=401, body={"errcode": "M_UNKNOWN_TOKEN"}, times=2),
        Fault(drop=True, times=2),
        Fault(drop=True, commit=True, times=2),
        Fault(status=500, commit=True, times=1),
    ],
    ids=["500", "502", "429 body", "429 header", "401", "dropped", "committed and dropped", "committed and 500"],
)
async def test_passing_troubles_cost_nothing(config: GatewayConfig, homeserver: FakeHomeserver, fault: Fault) -> None:
    fault.match = "/send/"
    homeserver.faults.append(fault)
    thing = Thing()
    async with gateway(config, thing) as running:
        await Door(running).send(*[thing.envelope() for _ in range(250)])
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 251)))
        await eventually(lambda: running.core.database.read(rows.sizes) == (0, 0))
    assert homeserver.sequences(thing.hex) == list(range(1, 251))


async def test_patience_that_was_asked_for_is_kept(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    body = {"errcode": "M_LIMIT_EXCEEDED", "retry_after_ms": 2500}
    homeserver.faults.append(Fault(status=429, body=body, match="/send/"))
    thing = Thing()
    async with gateway(config, thing) as running:
        await Door(running).send(thing.envelope())
        await eventually(lambda: any("/send/" in path for _, path in homeserver.requests))
        asked = len(homeserver.requests)
        await asyncio.sleep(0.5)
        assert len(homeserver.requests) == asked
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])


async def test_a_homeserver_that_hangs(homeserver: FakeHomeserver) -> None:
    client = AppserviceClient(homeserver.url, "as-token-for-tests", timeout=0.2)
    homeserver.faults.append(Fault(hang=True))
    answer = await client.register("thingroom")
    await client.close()
    assert answer == Later("the homeserver did not answer in time")


async def test_an_outage_is_survived_with_few_requests_waiting(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing, other = Thing(1, "Kitchen"), Thing(2, "Cellar")
    async with gateway(config, thing, other) as running:
        door = Door(running)
        await door.send(thing.envelope(), other.envelope())
        await eventually(lambda: homeserver.sequences(other.hex) == [1] == homeserver.sequences(thing.hex))
        await homeserver.stop()
        for _ in range(30):
            await door.send(*[thing.envelope() for _ in range(100)])
        await eventually(lambda: running.core.database.read(rows.sizes)[0] >= 8)
        assert running.core.database.read(rows.sizes)[0] <= 9
    # A restart in the middle of the outage.
    async with gateway(config, thing, other) as running:
        await homeserver.start()
        await eventually(lambda: homeserver.sequences(thing.hex) == list(range(1, 3002)))
        await Door(running).send(other.envelope())
        await eventually(lambda: homeserver.sequences(other.hex) == [1, 2])


async def test_what_is_refused_for_good_is_parked_and_blocks_nobody(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing, other = Thing(1, "Kitchen"), Thing(2, "Cellar")
    async with gateway(config, thing, other) as running:
        door = Door(running)
        await door.send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])
        homeserver.faults.append(Fault(status=413, body={"errcode": "M_TOO_LARGE"}, match="org.thingroom.readings"))
        await door.send(thing.envelope())
        await eventually(lambda: parked(running) == 1)
        await door.send(thing.envelope(), other.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1, 3] and homeserver.sequences(other.hex) == [1])
        # Mended by hand: nothing is lost.
        await running.core.database.write(rows.unpark)
        running.outbox.kick()
        await eventually(lambda: homeserver.sequences(thing.hex) == [1, 3, 2])


async def test_a_ghost_that_was_kicked_comes_back(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        await door.send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1])
        room = homeserver.rooms["!room1"]
        room.joined.discard(f"@thing_{thing.hex}:{SERVER}")
        room.invited.clear()
        await door.send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1, 2])


async def test_a_backlog_does_not_wait_for_the_clock(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    """Whole events follow one another as fast as the homeserver takes them, also beyond what may wait at once."""
    slow = type(config.batch)(seconds=3600.0, envelopes=20)
    config = type(config)(**{**{f: getattr(config, f) for f in config.__struct_fields__}, "batch": slow})
    thing = Thing()
    async with gateway(config, thing) as running:
        await Door(running).send(*[thing.envelope() for _ in range(610)])
        await eventually(lambda: len(homeserver.sequences(thing.hex)) == 600)
        await asyncio.sleep(0.2)
        assert len(homeserver.events()) == 30


async def test_many_devices_that_speak_all_the_time_do_not_stop_the_clock(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    """An event's worth from all devices together is no event's worth of any of them."""
    config = msgspec.structs.replace(config, batch=BatchConfig(seconds=1.0, envelopes=50))
    things = [Thing(seed) for seed in range(1, 13)]
    async with gateway(config, *things) as running:
        door = Door(running)
        for _ in range(45):
            await door.send(*[thing.envelope() for thing in things])
            await asyncio.sleep(0.1)
            if all(homeserver.sequences(thing.hex) for thing in things):
                break
        else:
            raise AssertionError("nothing was told while something came")
        sent = things[0].sequence
        await eventually(lambda: all(len(homeserver.sequences(thing.hex)) == sent for thing in things))


async def test_the_order_per_room_is_kept(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    homeserver.faults.append(Fault(status=503, match="/send/", times=3))
    async with gateway(config, thing) as running:
        door = Door(running)
        for _ in range(12):
            await door.send(*[thing.envelope() for _ in range(7)])
            await asyncio.sleep(0.02)
        await eventually(lambda: len(homeserver.sequences(thing.hex)) == 84)
    assert homeserver.sequences(thing.hex) == list(range(1, 85))


async def test_events_are_within_bounds_and_carry_the_bytes_that_arrived(
    config: GatewayConfig, homeserver: FakeHomeserver
) -> None:
    thing = Thing()
    sent = [thing.envelope() for _ in range(230)]
    async with gateway(config, thing) as running:
        await Door(running).send(*sent)
        await eventually(lambda: len(homeserver.sequences(thing.hex)) == 230)
    found = []
    for event in homeserver.events():
        content = event["content"]
        assert set(content) == {"device", "attested_by", "envelopes", "readings"}
        assert (content["device"], content["attested_by"]) == (thing.hex, "device")
        assert len(content["envelopes"]) <= 100
        assert len(json.dumps(content, separators=(",", ":"))) <= 40_200
        found += [base64.b64decode(envelope + "==") for envelope in content["envelopes"]]
        for reading in content["readings"]:
            assert set(reading) == {"sequence", "ts", "name", "unit", "value"}
            assert isinstance(reading["value"], str)
    assert found == sent
    assert [parse_envelope(data).header.sequence for data in found] == list(range(1, 231))


async def test_revoking_a_device(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    thing = Thing()
    async with gateway(config, thing) as running:
        door = Door(running)
        await door.send(thing.envelope())
        assert await running.core.enrolment.revoke(thing.kid) is not None
        await door.send(thing.envelope())
        assert running.core.counters["coap.rejected.revoked_device"] == 1
        state = ("org.thingroom.device", thing.hex)
        await eventually(
            lambda: (
                len(homeserver.rooms) == 2
                and homeserver.rooms["!room1"].state.get(state, {}).get("status") == "revoked"
            )
        )


async def test_answers_of_the_homeserver_are_values(homeserver: FakeHomeserver) -> None:
    client = AppserviceClient(homeserver.url, "as-token-for-tests", timeout=5)
    try:
        assert await client.register("thingroom") == Done({"user_id": f"@thingroom:{SERVER}"})
        assert await client.register("thingroom") == Done({})
        refused = await client.register("somebody")
        assert isinstance(refused, Refused)
        assert (refused.status, refused.errcode) == (400, "M_EXCLUSIVE")
        homeserver.faults.append(Fault(status=200, body={}))
        assert isinstance(await client.resolve_alias("#x:y"), Done)
        await homeserver.stop()
        assert isinstance(await client.resolve_alias("#x:y"), Later)
    finally:
        await client.close()


@given(
    st.integers(100, 599),
    st.one_of(
        st.binary(max_size=60),
        st.dictionaries(
            st.sampled_from(["errcode", "error", "retry_after_ms", "event_id"]),
            st.one_of(st.none(), st.integers(), st.text(max_size=10), st.sampled_from(["M_LIMIT_EXCEEDED", "M_X"])),
        ).map(lambda body: json.dumps(body).encode()),
        st.just(b"[" * 5000),
    ),
    st.one_of(st.none(), st.text(max_size=8), st.sampled_from(["5", "-1", "999999999999"])),
)
def test_any_answer_has_one_of_three_ends(status: int, body: bytes, retry_after: str | None) -> None:
    end = _end(status, body, retry_after)
    assert isinstance(end, Done) is (status == 200 and isinstance(_parsed(body), dict))
    if isinstance(end, Refused):
        assert 400 <= status < 500
        assert status not in (401, 408, 425, 429)
    if isinstance(end, Later) and end.seconds is not None:
        assert 0 <= end.seconds <= 3600


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


async def test_a_wrong_token_waits_for_the_right_one(homeserver: FakeHomeserver) -> None:
    client = AppserviceClient(homeserver.url, "wrong", timeout=5)
    try:
        assert isinstance(await client.register("thingroom"), Later)
    finally:
        await client.close()
