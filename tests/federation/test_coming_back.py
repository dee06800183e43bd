"""Coming back to a room through a server that has not heard yet who has left."""

from __future__ import annotations

from pathlib import Path

from tests.federation.shared_room import say, shared_room, until
from tests.federation.sides import Sides, running_sides, state_of
from tests.homeserver.running import MatrixClient, escape


async def membership(client: MatrixClient, room_id: str, user_id: str) -> str | None:
    path = f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(user_id)}"
    answer = await client.get(path)
    return answer.body.get("membership") if answer.status == 200 else None


async def agree(sides: Sides, room_id: str, *clients: MatrixClient) -> None:
    async def check() -> bool:
        first, *others = [await state_of(client, room_id) for client in clients]
        return all(other == first for other in others)

    await until(check)


async def test_a_leave_that_others_have_not_heard_of_is_not_undone(tmp_path: Path) -> None:
    async with running_sides(tmp_path, ours=2, synapses=0, users=1) as sides:
        here, there = sides.all
        (user,) = here.users
        room_id = await shared_room(there.anchor, there.name, here.anchor, user)
        await say(here.anchor, room_id, "hello")
        await until(lambda: membership(there.anchor, room_id, user.user_id))
        await agree(sides, room_id, here.anchor, there.anchor)
        sides.network.links[here.name, there.name] = "mute"
        (await here.anchor.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        (await user.post(f"v3/rooms/{escape(room_id)}/leave")).ok()

        async def comes_back() -> bool:  # while the sender of transactions fails, other requests may wait too
            return (await user.post(f"v3/join/{escape(room_id)}", via=there.name)).status == 200

        await until(comes_back)
        assert await membership(there.anchor, room_id, here.anchor.user_id) == "join"
        assert await membership(user, room_id, here.anchor.user_id) == "leave"
        assert await membership(user, room_id, user.user_id) == "join"
        assert room_id not in (await here.anchor.get("v3/joined_rooms")).ok()["joined_rooms"]
        sides.network.heal()
        await say(user, room_id, "the anchor has left")
        await agree(sides, room_id, user, there.anchor)
        assert await membership(there.anchor, room_id, here.anchor.user_id) == "leave"
        assert sides.network.faults == []
