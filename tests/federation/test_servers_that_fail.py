"""Servers with a fate: one is gone for good, one's clock is wrong, one comes back with yesterday's backup."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.federation.peers import REQUEST_SECONDS, Authority, Peer, running_peer, running_peers
from tests.federation.shared_room import Syncing, history, say, shared_room, until
from tests.federation.sides import state_of
from tests.homeserver.running import MatrixClient, escape

from thingroom_homeserver.admin.backup import back_up, restore

HOUR_SECONDS = 3600


class WrongClock:
    """A clock that is off by so many seconds, and goes well otherwise."""

    def __init__(self, off_seconds: float) -> None:
        self._off_ms = int(off_seconds * 1000)

    def put_right(self) -> None:
        self._off_ms = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self._off_ms

    def monotonic(self) -> float:
        return time.monotonic()


async def bodies(client: MatrixClient, room_id: str) -> list[str]:
    """The messages of the room that the client can read, oldest first."""
    events = await history(client, room_id)
    return [event["content"]["body"] for event in events if event["type"] == "m.room.message"]


async def may_read(client: MatrixClient, room_id: str) -> bool:
    return (await client.get(f"v3/rooms/{escape(room_id)}/messages", dir="b")).status == 200


async def has_read(client: MatrixClient, room_id: str, *wanted: str) -> None:
    """Wait until the client can read these messages."""

    async def check() -> bool:
        return await may_read(client, room_id) and set(wanted) <= set(await bodies(client, room_id))

    await until(check)


async def agree(room_id: str, one: MatrixClient, *others: MatrixClient) -> None:
    """Wait until all are told the same state."""

    async def check() -> bool:
        first = await state_of(one, room_id)
        return all([await state_of(other, room_id) == first for other in others])

    await until(check)


@pytest.mark.parametrize("version", ("11", "12"))
async def test_the_others_go_on_when_the_first_server_is_gone_for_good(
    tmp_path: Path, authority: Authority, version: str
) -> None:
    async with running_peers(tmp_path, 3, authority) as (gone, second, third):
        founder, bob, carol = [
            await peer.register(name) for peer, name in zip((gone, second, third), "abc", strict=True)
        ]
        room_id = await shared_room(
            founder,
            gone.server_name,
            bob,
            carol,
            version=version,
            power_level_content_override={
                "users": {bob.user_id: 90} | ({founder.user_id: 100} if version == "11" else {})
            },
        )
        await say(founder, room_id, "of the founder")
        await has_read(bob, room_id, "of the founder")
        await has_read(carol, room_id, "of the founder")
        await gone.close()
        began = time.monotonic()
        for number in range(10):
            await say(bob, room_id, f"b{number}")
            await say(carol, room_id, f"c{number}")
        (await bob.put(f"v3/rooms/{escape(room_id)}/state/m.room.topic", {"topic": "Without them"})).ok()
        await has_read(carol, room_id, *(f"b{number}" for number in range(10)))
        await has_read(bob, room_id, *(f"c{number}" for number in range(10)))
        assert time.monotonic() - began < REQUEST_SECONDS
        await agree(room_id, bob, carol)
        trusting = {"federation": {"trusted_key_servers": (second.server_name,)}}
        async with running_peer(tmp_path / "late", authority, **trusting) as late:
            dora = await late.register("d")
            (await dora.post(f"v3/join/{escape(room_id)}", via=third.server_name)).ok()
            await has_read(dora, room_id, "of the founder", "b9", "c9")
            await say(dora, room_id, "of the latecomer")
            await has_read(bob, room_id, "of the latecomer")
            await agree(room_id, bob, carol, dora)


async def test_whose_keys_nobody_vouches_for_is_not_believed(tmp_path: Path, authority: Authority) -> None:
    async with running_peers(tmp_path, 2, authority) as (gone, second):
        founder, bob = await gone.register("a"), await second.register("b")
        room_id = await shared_room(founder, gone.server_name, bob)
        await gone.close()
        async with running_peer(tmp_path / "late", authority) as late:
            dora = await late.register("d")
            answer = await dora.post(f"v3/join/{escape(room_id)}", via=second.server_name)
            assert answer.status == 502, answer
            assert gone.server_name in answer.body["error"], answer.body


@pytest.mark.parametrize("hours", (-20, -5, 5, 20))
async def test_a_clock_that_is_off_by_hours_disturbs_nobody(tmp_path: Path, authority: Authority, hours: int) -> None:
    async with (
        running_peer(tmp_path / "right", authority) as right,
        running_peer(tmp_path / "wrong", authority, clock=WrongClock(hours * HOUR_SECONDS)) as wrong,
    ):
        ann, bob = await right.register("ann"), await wrong.register("bob")
        for host, server, guest in ((ann, right, bob), (bob, wrong, ann)):
            room_id = await shared_room(host, server.server_name, guest)
            for client in (host, guest):
                for number in range(3):
                    await say(client, room_id, f"{client.user_id[1:4]}{number}")
            wanted = [f"{name}{number}" for name in ("ann", "bob") for number in range(3)]
            for client in (host, guest):
                await has_read(client, room_id, *wanted)
            await agree(room_id, host, guest)


@pytest.mark.parametrize("hours", (-30, 30))
async def test_a_clock_that_is_off_by_more_than_keys_last_is_put_right(
    tmp_path: Path, authority: Authority, hours: int
) -> None:
    clock = WrongClock(hours * HOUR_SECONDS)
    async with (
        running_peer(tmp_path / "right", authority) as right,
        running_peer(tmp_path / "wrong", authority, clock=clock) as wrong,
    ):
        ann, bob = await right.register("ann"), await wrong.register("bob")
        room_id = await shared_room(ann, right.server_name)
        answer = await bob.post(f"v3/join/{escape(room_id)}", via=right.server_name)
        if hours < 0:  # to others its keys have expired
            assert answer.status == 502, answer
            assert "key" in answer.body["error"] or "sign" in answer.body["error"], answer.body
        else:  # others' keys have expired to it: it hears nothing
            answer.ok()
        await say(ann, room_id, "into the wind")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(has_read(bob, room_id, "into the wind"), 1.0)
        clock.put_right()

        async def joined() -> bool:
            return (await bob.post(f"v3/join/{escape(room_id)}", via=right.server_name)).status == 200

        await until(joined)
        await say(bob, room_id, "on time")
        await has_read(ann, room_id, "on time")
        await has_read(bob, room_id, "into the wind")
        await agree(room_id, ann, bob)


@contextlib.asynccontextmanager
async def back_in_time(
    peer: Peer, backup: Path, put_back: Callable[[Path, Path], object] = restore
) -> AsyncIterator[None]:
    """Back the peer up; when the block ends it is put back to that moment, and runs."""
    data = Path(peer.config.data_directory)
    back_up(data, backup)
    yield
    await peer.stop()
    shutil.rmtree(data)
    put_back(backup, data)
    await peer.start()


@pytest.mark.parametrize("put_back", (restore, shutil.copytree))
async def test_a_server_that_was_restored_gets_back_what_it_lost(
    tmp_path: Path, authority: Authority, put_back: Callable[[Path, Path], object]
) -> None:
    async with running_peers(tmp_path, 2, authority) as (restored, other):
        ann, bob = await restored.register("ann"), await other.register("bob")
        room_id = await shared_room(ann, restored.server_name, bob)
        await say(ann, room_id, "before")
        await has_read(bob, room_id, "before")
        reader = Syncing(ann)
        await reader.step()
        async with back_in_time(restored, tmp_path / "backup", put_back):
            for number in range(5):
                await say(ann, room_id, f"lost{number}")
                await say(bob, room_id, f"heard{number}")
            (await ann.put(f"v3/rooms/{escape(room_id)}/state/m.room.topic", {"topic": "Lost"})).ok()
            await has_read(ann, room_id, "heard4")
            await has_read(bob, room_id, "lost4")
            await agree(room_id, ann, bob)
            await reader.step()
        restored.again(ann)
        assert "lost0" not in await bodies(ann, room_id)
        if put_back is not restore:
            await reader.step()  # while the token is still ahead of the server
        await say(ann, room_id, "again")  # beside what it has forgotten
        await has_read(bob, room_id, "again")
        await say(bob, room_id, "after")
        everything = [f"{kind}{number}" for number in range(5) for kind in ("lost", "heard")]
        await has_read(ann, room_id, "before", "again", "after", *everything)
        await agree(room_id, ann, bob)
        assert (await ann.get(f"v3/rooms/{escape(room_id)}/state/m.room.topic")).body == {"topic": "Lost"}
        # A client whose token is of the forgotten time misses nothing of what came since.
        await reader.until(lambda: {"again", "after"} <= set(reader.bodies()))
        await say(ann, room_id, "lost0")  # the transaction id was used in the forgotten time
        await has_read(bob, room_id, "lost0")


async def test_memberships_of_the_forgotten_time(tmp_path: Path, authority: Authority) -> None:
    async with running_peers(tmp_path, 2, authority) as (restored, other):
        ann, bob = await restored.register("ann"), await other.register("bob")
        left = await shared_room(bob, other.server_name, ann, name="Left")
        await say(bob, left, "hello")
        await has_read(ann, left, "hello")
        async with back_in_time(restored, tmp_path / "backup"):
            (await ann.post(f"v3/rooms/{escape(left)}/leave")).ok()
            entered = await shared_room(bob, other.server_name, ann, name="Entered")
            await say(ann, entered, "here I am")
            await has_read(bob, entered, "here I am")

            async def gone() -> bool:
                return (await state_membership(bob, left, ann)) == "leave"

            await until(gone)
        restored.again(ann)
        joined = (await ann.get("v3/joined_rooms")).ok()["joined_rooms"]
        assert joined == [left]
        await say(bob, entered, "can you hear me?")
        # The room that it entered is unknown to it until somebody joins again; the one that it left is another's.
        (await ann.post(f"v3/join/{escape(entered)}", via=other.server_name)).ok()
        await has_read(ann, entered, "here I am", "can you hear me?")
        await say(ann, left, "nobody hears this")
        assert "nobody hears this" not in await bodies(bob, left)
        (await ann.post(f"v3/rooms/{escape(left)}/leave")).ok()
        (await ann.post(f"v3/join/{escape(left)}", via=other.server_name)).ok()
        await say(ann, left, "back")
        await has_read(bob, left, "back")
        await agree(left, ann, bob)
        await agree(entered, ann, bob)


async def state_membership(client: MatrixClient, room_id: str, who: MatrixClient) -> str | None:
    answer = await client.get(f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(who.user_id)}")
    return answer.body.get("membership") if answer.status == 200 else None
