"""The main job: `thingroom run --demo`, then a stock client, then a proof that needs nothing of ours."""

import asyncio
import itertools
import socket
import time

from nio import AsyncClient, LoginResponse
from tests.flows.readings import device_keys, is_forged, proven_readings, room_named, timeline, unpadded
from tests.flows.thingroom_run import Running
from tests.patience import PATIENCE_SECONDS, tries

ROOMS = ("Kitchen", "Bedroom", "Garden")


async def signed_in(running: Running) -> AsyncClient:
    user_id, password = running.owner()
    client = AsyncClient(running.url, user_id)
    assert isinstance(await client.login(password), LoginResponse)
    return client


async def rooms_of(client: AsyncClient, running: Running) -> dict[str, str]:
    """Name to room id of the demo's three rooms, once the owner is in all of them."""
    for _ in tries():
        found = {name: await room_named(client, name) for name in ROOMS}
        if all(found.values()):
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"the rooms are not there: {found}\n{running.story()}")


async def test_readings_of_three_boards_are_in_their_rooms_and_prove_themselves(tmp_path):
    began = time.monotonic()
    async with Running(tmp_path / "data") as running:
        await running.until_printed("Thingroom is running")
        for name in ROOMS:
            await running.until_printed(name)
        await running.until_printed("signature verified, coap")
        await running.until_printed("the first readings are in their Matrix room")
        assert time.monotonic() - began < 60, "within a minute"

        client = await signed_in(running)
        rooms = await rooms_of(client, running)
        for name, room_id in rooms.items():
            proven = []
            while len(proven) < 3:
                proven = await proven_readings(client, room_id)
                await asyncio.sleep(0.3)
            numbers = [reading.sequence for reading in proven]
            assert numbers == sorted(set(numbers)), f"{name}: each once and in order"
            for before, after in itertools.pairwise(proven):
                assert after.predecessor[0] == before.sequence, f"{name}: the chain has no gap"

            events = await timeline(client, room_id)
            notices = [e for e in events if e["type"] == "m.room.message" and e["content"]["msgtype"] == "m.notice"]
            assert notices, f"{name}: nothing that people can read"
            assert notices[0]["content"]["body"].startswith(name)
            assert notices[0]["sender"].startswith("@thing_")

        keys = await device_keys(client, rooms["Kitchen"])
        other_keys = await device_keys(client, rooms["Garden"])
        machine = [e for e in await timeline(client, rooms["Kitchen"]) if e["type"] == "org.thingroom.readings"]
        envelope = unpadded(machine[0]["content"]["envelopes"][0])
        own = keys[machine[0]["content"]["device"]]
        assert not is_forged(envelope, own)
        assert is_forged(envelope, next(iter(other_keys.values())))
        assert is_forged(envelope[:-1] + bytes([envelope[-1] ^ 1]), own)
        await client.close()

        assert await running.stop() == 0
        assert "Stopped." in running.lines[-1]
        highest = max(reading.sequence for reading in proven)

        # The second start continues: same account, same rooms, same keys, numbers that go on.
        running.lines.clear()
        await running.start()
        await running.until_printed("Thingroom is running")
        assert not any("paired" in line for line in running.lines)
        client = await signed_in(running)
        assert await rooms_of(client, running) == rooms
        assert await device_keys(client, rooms["Kitchen"]) == keys

        async def numbers_of_garden():
            return [reading.sequence for reading in await proven_readings(client, rooms["Garden"])]

        numbers = await numbers_of_garden()
        while max(numbers) <= highest + 2:
            await asyncio.sleep(0.5)
            numbers = await numbers_of_garden()
        assert len(numbers) == len(set(numbers))
        await client.close()


async def test_without_mosquitto_the_broker_in_python_serves(tmp_path):
    async with Running(tmp_path / "data", broker="amqtt") as running:
        await running.until_printed("(amqtt)")
        await running.until_printed("signature verified, mqtt")
        assert running.process_of("thingroom_gateway.amqtt_broker").is_running()


async def test_a_taken_port_is_one_clear_sentence(tmp_path):
    running = Running(tmp_path / "data", demo=False)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", running.homeserver_port))
        taken.listen()
        await running.start()
        assert await asyncio.wait_for(running.process.wait(), PATIENCE_SECONDS) == 2
        await running._reader
    said = " ".join(running.lines)
    assert f"the homeserver cannot listen on 127.0.0.1 port {running.homeserver_port}" in said
    assert "change listeners in [homeserver]" in said
    assert "Traceback" not in said


async def test_an_unknown_key_is_one_clear_sentence(tmp_path):
    running = Running(tmp_path / "data", demo=False)
    with (running.data / "thingroom.toml").open("a") as file:
        file.write("[homeserver.password_cost]\npases = 3\n")
    await running.start()
    assert await asyncio.wait_for(running.process.wait(), PATIENCE_SECONDS) == 2
    await running._reader
    said = " ".join(running.lines)
    assert "thingroom.toml: there is no key `pases` - in `homeserver.password_cost`" in said
    assert "Traceback" not in said
