"""The rooms that the federation benchmark makes up are rooms that a server joins."""

from __future__ import annotations

from pathlib import Path

import pytest
from bench.made_room import serving
from tests.federation.peers import Authority, running_peer
from tests.homeserver.running import escape


@pytest.mark.parametrize("version", ["10", "12"])
async def test_a_made_room_can_be_joined(tmp_path: Path, version: str):
    authority = Authority(tmp_path / "authority")
    async with serving(authority, version, [3, 20]) as rooms, running_peer(tmp_path / "ours", authority) as ours:
        alice = await ours.register("alice")
        for size, room in rooms.items():
            (await alice.post(f"v3/join/{escape(str(room.room_id))}", via=room.server_name)).ok()
            members = (await alice.get(f"v3/rooms/{escape(str(room.room_id))}/joined_members")).ok()["joined"]
            assert len(members) == size + 2, "with the owner and who joined"
