"""Events between two of our servers over TLS: order, latency, batches, a peer that is away, killed, slow, or denied."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from aiohttp import web
from tests.federation.federated_house import eventually, federated_house
from tests.federation.peers import Authority, running_peers, running_process_peer
from tests.federation.shared_room import Syncing, history, register_at, say, shared_room
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS


def numbered(start: int, count: int) -> list[str]:
    return [f"number {number}" for number in range(start, start + count)]


async def test_events_arrive_in_order_and_at_once(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await shared_room(alice, one.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        waits = []
        for body in numbered(0, 15):
            started = time.perf_counter()
            await say(alice, room_id, body)
            await seen.until(lambda body=body: body in seen.bodies())
            waits.append(time.perf_counter() - started)
        assert seen.bodies() == numbered(0, 15)
        assert min(waits) < 0.5
        many = numbered(15, 120)
        sending = asyncio.gather(*(say(alice, room_id, body) for body in many))
        await seen.until(lambda: len(seen.bodies()) >= 135)
        await sending
        assert sorted(seen.bodies()) == sorted(numbered(0, 135))
        back = Syncing(alice)
        await say(bob, room_id, "and back")
        await back.until(lambda: "and back" in back.bodies())


async def test_a_server_that_was_away_gets_everything_in_order(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await shared_room(alice, one.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        await two.stop()
        bodies = numbered(0, 120)
        for body in bodies:
            await say(alice, room_id, body)
        assert one.services.federation.reachability.is_failing(two.server_name)
        await two.start()
        two.again(bob)
        await seen.until(lambda: len(seen.bodies()) >= 120)
        assert seen.bodies() == bodies
        assert not one.services.federation.reachability.is_failing(two.server_name)


async def test_what_is_queued_goes_out_after_a_restart(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await shared_room(alice, one.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        await two.stop()
        for body in numbered(0, 10):
            await say(alice, room_id, body)
        await one.stop()
        await one.start()
        assert one.services.federation.reachability.is_failing(two.server_name)
        await two.start()
        two.again(bob)
        await seen.until(lambda: len(seen.bodies()) >= 10)
        assert seen.bodies() == numbered(0, 10)


async def test_a_server_that_was_away_for_long_finds_the_rest_itself(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await shared_room(alice, one.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        await two.stop()
        bodies = numbered(0, 560)
        for body in bodies:
            await say(alice, room_id, body)
        await two.start()
        two.again(bob)
        await seen.until(lambda: bodies[-1] in seen.bodies())
        found = [event["content"].get("body") for event in await history(bob, room_id)]
        assert [body for body in found if body is not None] == bodies
        # From here on the queue is a live one again.
        await say(alice, room_id, "afterwards")
        await seen.until(lambda: "afterwards" in seen.bodies())


async def test_a_killed_server_sends_what_it_had_accepted(tmp_path: Path, authority: Authority):
    async with (
        running_process_peer(tmp_path / "killed", authority) as killed,
        running_peers(tmp_path, 1, authority) as (peer,),
    ):
        bob = await peer.register("bob")
        alice = await register_at(peer.http, killed.base_url, "alice")
        room_id = await shared_room(alice, killed.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        accepted: list[str] = []
        for round_number in range(3):
            sending = asyncio.create_task(_say_until_killed(alice, room_id, round_number, accepted))
            await asyncio.sleep(0.15 + 0.1 * round_number)
            await killed.kill()
            await sending
            await killed.start()
        assert accepted
        await seen.until(lambda: accepted[-1] in {event["event_id"] for event in seen.events})
        ids = [event["event_id"] for event in await history(bob, room_id)]
        assert set(accepted) <= set(ids)
        assert len(ids) == len(set(ids))


async def test_messages_to_devices_survive_kills_once_each_and_in_order(tmp_path: Path, authority: Authority):
    async with (
        running_process_peer(tmp_path / "killed", authority) as killed,
        running_peers(tmp_path, 1, authority) as (peer,),
    ):
        bob = await peer.register("bob")
        alice = await register_at(peer.http, killed.base_url, "alice")
        await shared_room(alice, killed.server_name, bob)
        seen = Syncing(bob)
        accepted: list[int] = []

        async def send_until_killed() -> None:
            while True:
                number = len(accepted)
                messages = {"messages": {bob.user_id: {bob.device_id: {"n": number}}}}
                try:
                    (await alice.put(f"v3/sendToDevice/org.example.ping/{number}", messages)).ok()
                except OSError:
                    return
                accepted.append(number)

        for round_number in range(3):
            sending = asyncio.create_task(send_until_killed())
            await asyncio.sleep(0.1 + 0.07 * round_number)
            await killed.kill()
            await sending
            await killed.start()
        assert accepted
        numbers = lambda: [event["content"]["n"] for event in seen.to_device]  # noqa: E731 - read again and again
        await seen.until(lambda: accepted[-1] in numbers())
        await seen.step()
        # The last of each round may have been taken without the answer arriving; it was then sent again, to no effect.
        assert numbers()[: len(accepted)] == accepted


async def _say_until_killed(client: MatrixClient, room_id: str, round_number: int, accepted: list[str]) -> None:
    number = 0
    while True:
        try:
            accepted.append(await say(client, room_id, f"round {round_number} number {number}"))
        except OSError:
            return
        number += 1


async def test_a_slow_server_delays_nobody_else(tmp_path: Path, authority: Authority):
    async with (
        federated_house(tmp_path, authority, federation={"request_timeout_seconds": 3 * PATIENCE_SECONDS}) as house,
        running_peers(tmp_path / "third", 1, authority) as (third,),
    ):
        bob = await third.register("bob")
        (await bob.post(f"v3/join/{escape(house.room_id)}", via=house.peer.server_name)).ok()
        seen = Syncing(bob)
        await seen.step()
        released = asyncio.Event()

        async def slowly(request: Any, body: Any) -> dict[str, Any]:
            await released.wait()
            return {"pdus": {}}

        house.other.server.on("PUT", r"/_matrix/federation/v1/send/.*", slowly)
        for number in range(10):
            await house.send(f"number-{number}")
        await seen.until(lambda: len(seen.bodies()) >= 10)
        released.set()


async def test_a_transaction_keeps_its_id_until_it_is_taken(tmp_path: Path, authority: Authority):
    async with federated_house(tmp_path, authority) as house:
        await house.other_knows(await house.send("before"))
        tries: list[tuple[str, list[str]]] = []
        answers = iter([503, 500, 429, 404, 401, 200])

        def take(request: Any, body: Any) -> Any:
            tries.append((request.path, [pdu["content"]["body"] for pdu in body["pdus"]]))
            status = next(answers, 200)
            refused = {"errcode": "M_LIMIT_EXCEEDED", "error": "later", "retry_after_ms": 100}
            return web.json_response({"pdus": {}} if status == 200 else refused, status=status)

        house.other.server.on("PUT", r"/_matrix/federation/v1/send/.*", take)
        await house.send("one")
        await eventually(lambda: len(tries) >= 1)
        await house.send("two")
        await house.send("three")
        await eventually(lambda: len(tries) >= 7)
        first = tries[0]
        assert tries[:6] == [first] * 6
        assert tries[6][0] != first[0]
        assert tries[6][1] == ["two", "three"]


async def test_the_ends_of_a_room_are_sent_where_others_wrote_last(tmp_path: Path, authority: Authority):
    """A third server was away for long; meanwhile another server's event came last, and that server sends nothing."""
    async with (
        federated_house(tmp_path, authority) as house,
        running_peers(tmp_path / "third", 1, authority) as (third,),
    ):
        bob = await third.register("bob")
        (await bob.post(f"v3/join/{escape(house.room_id)}", via=house.peer.server_name)).ok()
        await third.stop()
        said = [f"number-{number}" for number in range(510)]
        for body in said:
            last = await house.send(body)
        await house.other_knows(last)
        await house.other.sent(house.other.message("the last word"))
        await third.start()
        third.again(bob)

        async def has_all() -> bool:
            events = await history(bob, house.room_id)
            found = [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
            return found == [*said, "the last word"]

        await eventually(has_all, pause=0.2)


async def test_what_cannot_be_sent_holds_nothing_up(tmp_path: Path):
    """Contents nested as deeply as one request allows are too deep within a transaction: such events are not made."""
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await shared_room(alice, one.server_name, bob)
        seen = Syncing(bob)
        await seen.step()
        alice.sends_odd_events = True
        for levels in (60, 118, 119, 121, 122, 123, 124, 125, 126):
            deep: Any = {}
            for _ in range(levels):
                deep = {"a": deep}
            path = f"v3/rooms/{escape(room_id)}/send/org.example.deep/{levels}"
            answer = await alice.put(path, deep)
            if levels <= 118:
                answer.ok()
            else:
                answer.is_error(400, "M_BAD_JSON")
            messages = {"messages": {bob.user_id: {bob.device_id: deep, "*": {"n": levels}}}}
            assert (await alice.put(f"v3/sendToDevice/org.example.deep/{levels}", messages)).status in (200, 400)
        await say(alice, room_id, "after-all-that")
        (await alice.put("v3/sendToDevice/org.example.ping/1", {"messages": {bob.user_id: {"*": {"n": 1}}}})).ok()
        await seen.until(lambda: "after-all-that" in seen.bodies())
        await seen.until(lambda: "org.example.ping" in {event["type"] for event in seen.to_device})
