"""What joins, invites and knocks across servers touch besides: third servers, access lists, upgrades, sliding sync."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.federation.peers import running_peers
from tests.federation.shared_room import until
from tests.homeserver.running import MatrixClient, RunningHomeserver, escape

from thingroom_homeserver.rooms.append_event import Draft, append_event
from thingroom_homeserver.rooms.membership import Change, apply_change
from thingroom_homeserver.rooms.outcomes import Refused, Sender, Sent


async def create(client: MatrixClient, preset: str = "public_chat", **body: Any) -> str:
    return str((await client.post("v3/createRoom", {"preset": preset, **body})).ok()["room_id"])


async def set_state(client: MatrixClient, room_id: str, kind: str, content: dict[str, Any]) -> None:
    (await client.put(f"v3/rooms/{escape(room_id)}/state/{kind}", content)).ok()


async def state(client: MatrixClient, room_id: str, kind: str, state_key: str = "") -> Any:
    return (await client.get(f"v3/rooms/{escape(room_id)}/state/{kind}/{escape(state_key)}")).body


async def becomes(client: MatrixClient, room_id: str, user_id: str, wanted: str) -> None:
    """Wait until the client sees that membership."""

    async def check() -> bool:
        found = await state(client, room_id, "m.room.member", user_id)
        return bool(found.get("membership") == wanted)

    await until(check)


async def test_everybody_in_the_room_hears_of_who_comes_through_one_of_them(tmp_path: Path):
    async with running_peers(tmp_path, 3) as (one, two, three):
        alice, bob, carol = await one.register("alice"), await two.register("bob"), await three.register("carol")
        room_id = await create(alice)
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        (await carol.post(f"v3/join/{escape(room_id)}", via=two.server_name)).ok()
        await becomes(alice, room_id, carol.user_id, "join")
        # An invite by the third server, rejected through it, and a knock through the second.
        dave, eve = await one.register("dave"), await three.register("eve")
        (await carol.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": eve.user_id})).is_error(403, "M_FORBIDDEN")
        levels = await state(alice, room_id, "m.room.power_levels")
        await set_state(alice, room_id, "m.room.power_levels", {**levels, "invite": 0})

        async def may_invite() -> bool:
            return bool((await state(carol, room_id, "m.room.power_levels"))["invite"] == 0)

        await until(may_invite)
        (await carol.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": dave.user_id})).ok()
        await becomes(bob, room_id, dave.user_id, "invite")
        await becomes(alice, room_id, dave.user_id, "invite")
        (await dave.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        for client in (alice, bob, carol):
            await becomes(client, room_id, dave.user_id, "leave")
        # The room's maker goes, and its server with it; the others go on.
        (await alice.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        await becomes(bob, room_id, alice.user_id, "leave")
        await one.stop()
        (await eve.post(f"v3/join/{escape(room_id)}")).ok()
        await becomes(bob, room_id, eve.user_id, "join")


async def test_a_restricted_join_is_granted_by_the_server_that_can(tmp_path: Path):
    async with running_peers(tmp_path, 3) as (one, two, three):
        alice, bob, carol = await one.register("alice"), await two.register("bob"), await three.register("carol")
        gate = await create(alice)
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": gate}]}
        levels = {"invite": 50}
        rules = {"type": "m.room.join_rules", "state_key": "", "content": rule}
        room_id = await create(
            alice, "private_chat", initial_state=[rules], power_level_content_override=levels, invite=[bob.user_id]
        )
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        (await carol.post(f"v3/join/{escape(gate)}", via=one.server_name)).ok()
        # Bob's server is not in the other room, and later it is, but Bob may not invite.
        answer = await carol.post(f"v3/join/{escape(room_id)}", via=two.server_name)
        answer.is_error(400, "M_UNABLE_TO_AUTHORISE_JOIN")
        (await bob.post(f"v3/join/{escape(gate)}", via=one.server_name)).ok()
        await becomes(bob, gate, carol.user_id, "join")
        answer = await carol.post(f"v3/join/{escape(room_id)}", via=two.server_name)
        answer.is_error(400, "M_UNABLE_TO_GRANT_JOIN")
        (await carol.post(f"v3/join/{escape(room_id)}?via={two.server_name}&via={one.server_name}")).ok()
        for client in (alice, bob, carol):
            await becomes(client, room_id, carol.user_id, "join")


async def test_an_access_list_keeps_a_server_out(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        closed = await create(alice, "private_chat", initial_state=[rule])
        room_id = await create(alice)
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        await becomes(alice, room_id, bob.user_id, "leave")
        for each in (room_id, closed):
            await _deny(one, each, alice.user_id)
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).is_error(403, "M_FORBIDDEN")
        (await bob.post(f"v3/knock/{escape(closed)}", via=one.server_name)).is_error(403, "M_FORBIDDEN")


async def _deny(server: RunningHomeserver, room_id: str, user_id: str) -> None:
    """Allow no server that there is in the room: both are called localhost, so a client may not set such a list."""
    rooms, draft = server.services.rooms, Draft("m.room.server_acl", {"allow": ["elsewhere"]}, "")

    def write(transaction: Any) -> None:
        room = rooms.cache.get(transaction, room_id)
        assert room is not None
        assert not isinstance(append_event(rooms, transaction, room, Sender(user_id), draft), Refused)

    await rooms.database.write(write)


async def test_an_upgraded_room_is_followed_to_its_successor(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        old = await create(alice, room_version="10", name="Greenhouse")
        (await bob.post(f"v3/join/{escape(old)}", via=one.server_name)).ok()
        tag = f"v3/user/{escape(bob.user_id)}/rooms/{escape(old)}/tags/m.favourite"
        (await bob.put(tag, {"order": 0.5})).ok()
        new = (await alice.post(f"v3/rooms/{escape(old)}/upgrade", {"new_version": "12"})).ok()["replacement_room"]

        async def is_told() -> Any:
            return (await state(bob, old, "m.room.tombstone")).get("replacement_room")

        assert await until(is_told) == new
        (await bob.post(f"v3/join/{escape(new)}", via=one.server_name)).ok()
        assert await state(bob, new, "m.room.name") == {"name": "Greenhouse"}
        tags = (await bob.get(f"v3/user/{escape(bob.user_id)}/rooms/{escape(new)}/tags")).ok()
        assert tags == {"tags": {"m.favourite": {"order": 0.5}}}


async def test_sliding_sync_shows_invites_and_knocks_of_other_servers(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        path = "unstable/org.matrix.simplified_msc3575/sync"
        wish = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 5, "required_state": [["*", "*"]]}}}

        async def ask(pos: str | None = None) -> dict[str, Any]:
            query = {} if pos is None else {"pos": pos}
            return (await bob.post(path, wish, **query)).ok()

        first = await ask()
        room_id = await create(alice, "private_chat", name="Greenhouse", invite=[bob.user_id])
        second = await ask(first["pos"])
        shown = {each["type"]: each["content"] for each in second["rooms"][room_id]["invite_state"]}
        assert second["rooms"][room_id]["membership"] == "invite"
        assert shown["m.room.name"] == {"name": "Greenhouse"}
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        again = await ask()
        assert room_id not in again["rooms"]
        rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        door = await create(alice, "private_chat", name="Door", initial_state=[rule])
        (await bob.post(f"v3/knock/{escape(door)}", via=one.server_name)).ok()
        third = await ask(again["pos"])
        assert third["rooms"][door]["membership"] == "knock"


async def test_who_deactivates_their_account_leaves_everywhere(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        joined, invited = await create(alice), await create(alice, "private_chat", invite=[bob.user_id])
        (await bob.post(f"v3/join/{escape(joined)}", via=one.server_name)).ok()
        auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}}
        body = {"auth": {**auth, "password": "correct horse battery"}}
        (await bob.post("v3/account/deactivate", body)).ok()
        for room_id in (joined, invited):
            await becomes(alice, room_id, bob.user_id, "leave")


async def test_a_room_of_a_thousand_members_is_joined_with_what_happens_meanwhile(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await create(alice, name="Hall")
        await _fill(one, room_id, 1000)
        joining = asyncio.create_task(bob.post(f"v3/join/{escape(room_id)}", via=one.server_name))
        await becomes(alice, room_id, bob.user_id, "join")
        said = (
            await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", {"msgtype": "m.text", "body": "Hi"})
        ).ok()["event_id"]
        (await joining).ok()
        members = (await bob.get(f"v3/rooms/{escape(room_id)}/joined_members")).ok()["joined"]
        assert len(members) == 1002

        async def has_heard() -> bool:
            return (await bob.get(f"v3/rooms/{escape(room_id)}/event/{escape(said)}")).status == 200

        await until(has_heard)


async def _fill(server: RunningHomeserver, room_id: str, count: int) -> None:
    """So many users of the server come into the room."""
    rooms = server.services.rooms

    def write(transaction: Any, start: int) -> None:
        room = rooms.cache.get(transaction, room_id)
        assert room is not None
        for number in range(start, min(start + 100, count)):
            user_id = f"@member{number}:{rooms.server_name}"
            joined = apply_change(rooms, transaction, room, Sender(user_id), Change(user_id, "join"))
            assert isinstance(joined, Sent)

    for start in range(0, count, 100):
        await rooms.database.write(lambda transaction, start=start: write(transaction, start))  # type: ignore[misc]


async def test_a_room_takes_an_alias_of_another_server_that_points_to_it(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = await create(alice)
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        alias, other = f"#hall:{two.server_name}", f"#other:{two.server_name}"
        (await bob.put(f"v3/directory/room/{escape(alias)}", {"room_id": room_id})).ok()
        (await bob.put(f"v3/directory/room/{escape(other)}", {"room_id": await create(bob)})).ok()
        await set_state(alice, room_id, "m.room.canonical_alias", {"alias": alias})
        path = f"v3/rooms/{escape(room_id)}/state/m.room.canonical_alias"
        for wrong in (other, f"#nothing:{two.server_name}", "#a:localhost:1"):
            (await alice.put(path, {"alias": alias, "alt_aliases": [wrong]})).is_error(400, "M_BAD_ALIAS")
        # What is named already is not asked for again.
        await two.stop()
        await set_state(alice, room_id, "m.room.canonical_alias", {"alt_aliases": [alias]})


async def test_an_invite_that_became_a_membership_leaves_nothing_behind(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob, carol = await one.register("alice"), await two.register("bob"), await two.register("carol")
        room_id = await create(alice, "private_chat", invite=[bob.user_id, carol.user_id])
        (await carol.post(f"v3/join/{escape(room_id)}")).ok()
        (await bob.post(f"v3/join/{escape(room_id)}")).ok()
        for client in (bob, carol):
            (await client.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
            await becomes(alice, room_id, client.user_id, "leave")
        events = len((await alice.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=100)).ok()["chunk"])
        (await bob.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
        again = len((await alice.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=100)).ok()["chunk"])
        assert again == events
        kept = two.services.database.read(
            lambda c: c.execute("SELECT COUNT(*) FROM out_of_band_memberships").fetchone()
        )
        assert kept[0] == 0


async def test_a_server_that_was_away_is_told_of_a_rejected_invite_later(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob, carol = await one.register("alice"), await two.register("bob"), await two.register("carol")
        room_id = await create(alice, "private_chat", invite=[bob.user_id, carol.user_id])
        await one.stop()
        for client in (bob, carol):
            (await client.post(f"v3/rooms/{escape(room_id)}/leave", {"reason": "no time"})).ok()
        await two.stop()
        await one.start()
        one.again(alice)
        # Who is out of the room already is refused, and not told of again.
        (await alice.post(f"v3/rooms/{escape(room_id)}/kick", {"user_id": carol.user_id})).ok()
        await two.start()
        await becomes(alice, room_id, bob.user_id, "leave")
        told = await state(alice, room_id, "m.room.member", bob.user_id)
        assert told["reason"] == "no time"

        async def settled() -> bool:
            left = two.services.database.read(lambda c: c.execute("SELECT COUNT(*) FROM untold_leaves").fetchone())
            return bool(left[0] == 0)

        await until(settled)
        assert "reason" not in await state(alice, room_id, "m.room.member", carol.user_id)


async def test_a_server_that_comes_later_gets_redacted_copies_of_what_was_erased(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, carol, bob = await one.register("alice"), await one.register("carol"), await two.register("bob")
        room_id = await create(alice)
        (await carol.post(f"v3/join/{escape(room_id)}")).ok()
        for client, text in ((carol, "to be erased"), (alice, "to stay")):
            content = {"msgtype": "m.text", "body": text}
            (await client.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", content)).ok()
        auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "carol"}}
        gone = {"erase": True, "auth": {**auth, "password": "correct horse battery"}}
        (await carol.post("v3/account/deactivate", gone)).ok()
        await becomes(alice, room_id, carol.user_id, "leave")
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        bob.sends_odd_events = True
        page = (await bob.get(f"v3/rooms/{escape(room_id)}/messages", dir="b", limit=100)).ok()["chunk"]
        said = {each["sender"]: each["content"].get("body") for each in page if each["type"] == "m.room.message"}
        assert said == {alice.user_id: "to stay", carol.user_id: None}
