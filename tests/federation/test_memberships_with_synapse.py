"""Memberships between our server and Synapse, in both directions and in every room version that has them."""

from __future__ import annotations

import pytest
from tests.federation.shared_room import until
from tests.federation.synapse_sides import VERSIONS, Sides, agree, becomes, create, not_shown, shown
from tests.homeserver.running import MatrixClient, escape

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.mark.parametrize("version", VERSIONS)
async def test_join_leave_and_come_back(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str):
    host, guest = host_and_guest
    room_id = await create(host, version, preset="public_chat", name="Greenhouse")
    join = f"v3/join/{escape(room_id)}?via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(join)).ok()
    await becomes(host, room_id, guest.user_id, "join")
    await becomes(guest, room_id, host.user_id, "join")
    await agree(sides, room_id)
    (await guest.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    await becomes(host, room_id, guest.user_id, "leave")
    (await host.put(f"v3/rooms/{escape(room_id)}/state/m.room.topic", {"topic": "Plants"})).ok()
    (await guest.post(join)).ok()
    await becomes(host, room_id, guest.user_id, "join")
    await agree(sides, room_id)
    assert (await guest.get(f"v3/rooms/{escape(room_id)}/state/m.room.topic")).body == {"topic": "Plants"}


@pytest.mark.parametrize("version", VERSIONS)
async def test_invite_accept_and_reject(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str):
    host, guest = host_and_guest
    room_id = await create(host, version, preset="private_chat", name="Greenhouse")
    invite = f"v3/rooms/{escape(room_id)}/invite"
    (await host.post(invite, {"user_id": guest.user_id, "reason": "Come in"})).ok()
    events = (await shown(guest, "invite", room_id))["invite_state"]["events"]
    found = {(each["type"], each["state_key"]): each for each in events}
    assert found["m.room.name", ""]["content"] == {"name": "Greenhouse"}
    assert found["m.room.create", ""]["sender"] == host.user_id
    assert found["m.room.member", guest.user_id]["content"]["reason"] == "Come in"
    (await guest.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    await becomes(host, room_id, guest.user_id, "leave")
    await not_shown(guest, "invite", room_id)
    (await host.post(invite, {"user_id": guest.user_id})).ok()
    await shown(guest, "invite", room_id)
    (await guest.post(f"v3/rooms/{escape(room_id)}/join")).ok()
    await becomes(host, room_id, guest.user_id, "join")
    await agree(sides, room_id)


@pytest.mark.parametrize("version", ["1", "12"])
async def test_an_invite_is_withdrawn(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str):
    host, guest = host_and_guest
    room_id = await create(host, version, preset="private_chat")
    (await host.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": guest.user_id})).ok()
    await shown(guest, "invite", room_id)
    (await host.post(f"v3/rooms/{escape(room_id)}/kick", {"user_id": guest.user_id})).ok()
    await not_shown(guest, "invite", room_id)


@pytest.mark.parametrize("version", VERSIONS[6:])
async def test_knock_taken_back_and_granted(
    sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str
):
    host, guest = host_and_guest
    rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
    room_id = await create(host, version, preset="private_chat", name="Greenhouse", initial_state=[rule])
    knock = f"v3/knock/{escape(room_id)}?via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(knock, {"reason": "Please"})).ok()
    await becomes(host, room_id, guest.user_id, "knock")
    events = (await shown(guest, "knock", room_id))["knock_state"]["events"]
    found = {each["type"]: each for each in events}
    assert found["m.room.name"]["content"] == {"name": "Greenhouse"}
    # Synapse forgets by whose help it knocked, so it takes back a knock only for itself.
    (await guest.post(f"v3/rooms/{escape(room_id)}/leave")).ok()
    await not_shown(guest, "knock", room_id)
    if guest is sides.alice:
        await becomes(host, room_id, guest.user_id, "leave")
        (await guest.post(knock)).ok()
        await becomes(host, room_id, guest.user_id, "knock")
    (await host.post(f"v3/rooms/{escape(room_id)}/invite", {"user_id": guest.user_id})).ok()
    await shown(guest, "invite", room_id)
    (await guest.post(f"v3/rooms/{escape(room_id)}/join")).ok()
    await becomes(host, room_id, guest.user_id, "join")
    await agree(sides, room_id)


@pytest.mark.parametrize(
    ("version", "rule"),
    [
        *((version, "restricted") for version in VERSIONS[7:]),
        *((version, "knock_restricted") for version in VERSIONS[9:]),
    ],
)
async def test_restricted_join(
    sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str, rule: str
):
    host, guest = host_and_guest
    space = await create(host, version, preset="public_chat")
    content = {"join_rule": rule, "allow": [{"type": "m.room_membership", "room_id": space}]}
    state = [{"type": "m.room.join_rules", "state_key": "", "content": content}]
    room_id = await create(host, version, preset="private_chat", initial_state=state)
    via = f"via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(f"v3/join/{escape(room_id)}?{via}")).is_error(403, "M_FORBIDDEN")
    (await guest.post(f"v3/join/{escape(space)}?{via}")).ok()
    await becomes(host, space, guest.user_id, "join")
    (await guest.post(f"v3/join/{escape(room_id)}?{via}")).ok()
    await becomes(host, room_id, guest.user_id, "join")
    member = await guest.get(f"v3/rooms/{escape(room_id)}/state/m.room.member/{escape(guest.user_id)}")
    assert member.body["join_authorised_via_users_server"] == host.user_id
    await agree(sides, room_id)


@pytest.mark.parametrize("version", VERSIONS)
async def test_kick_ban_and_unban(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str):
    host, guest = host_and_guest
    room_id = await create(host, version, preset="public_chat")
    join = f"v3/join/{escape(room_id)}?via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(join)).ok()
    await becomes(host, room_id, guest.user_id, "join")
    (await host.post(f"v3/rooms/{escape(room_id)}/kick", {"user_id": guest.user_id})).ok()
    await not_shown(guest, "join", room_id)
    (await guest.post(join)).ok()
    await becomes(host, room_id, guest.user_id, "join")
    (await host.post(f"v3/rooms/{escape(room_id)}/ban", {"user_id": guest.user_id})).ok()
    await not_shown(guest, "join", room_id)
    (await guest.post(join)).is_error(403, "M_FORBIDDEN")
    (await host.post(f"v3/rooms/{escape(room_id)}/unban", {"user_id": guest.user_id})).ok()
    await becomes(host, room_id, guest.user_id, "leave")
    (await guest.post(join)).ok()
    await becomes(host, room_id, guest.user_id, "join")
    await agree(sides, room_id)


async def test_aliases_and_new_rooms(sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]):
    host, guest = host_and_guest
    body = {"preset": "public_chat", "room_alias_name": "greenhouse", "invite": [guest.user_id], "is_direct": True}
    room_id = await create(host, "11", **body)
    events = (await shown(guest, "invite", room_id))["invite_state"]["events"]
    own = next(each for each in events if each["state_key"] == guest.user_id)
    assert own["content"]["is_direct"] is True
    alias = escape(f"#greenhouse:{sides.servers(host)}")
    assert (await guest.get(f"v3/directory/room/{alias}")).body["room_id"] == room_id
    assert (await guest.post(f"v3/join/{alias}")).ok() == {"room_id": room_id}
    await becomes(host, room_id, guest.user_id, "join")


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_upgraded_room_is_followed(
    sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient], version: str
):
    host, guest = host_and_guest
    old = await create(host, version, preset="public_chat", name="Greenhouse")
    via = f"via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(f"v3/join/{escape(old)}?{via}")).ok()
    await becomes(host, old, guest.user_id, "join")
    new = (await host.post(f"v3/rooms/{escape(old)}/upgrade", {"new_version": "12"})).ok()["replacement_room"]

    async def is_told() -> bool:
        found = await guest.get(f"v3/rooms/{escape(old)}/state/m.room.tombstone")
        return found.status == 200 and found.body["replacement_room"] == new

    await until(is_told)
    (await guest.post(f"v3/join/{escape(new)}?{via}")).ok()
    await becomes(host, new, guest.user_id, "join")
    await agree(sides, new)


async def test_power_that_is_given_across_servers_is_used_there(
    sides: Sides, host_and_guest: tuple[MatrixClient, MatrixClient]
):
    host, guest = host_and_guest
    room_id = await create(host, "12", preset="public_chat")
    via = f"via={sides.servers(host)}&server_name={sides.servers(host)}"
    (await guest.post(f"v3/join/{escape(room_id)}?{via}")).ok()
    await becomes(host, room_id, guest.user_id, "join")
    levels = (await host.get(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels")).body
    users = {**levels.get("users", {}), guest.user_id: 50}
    (await host.put(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels", {**levels, "users": users})).ok()

    async def is_told() -> bool:
        found = await guest.get(f"v3/rooms/{escape(room_id)}/state/m.room.power_levels")
        return bool(found.body["users"].get(guest.user_id) == 50)

    await until(is_told)
    stranger = f"@stranger:{sides.servers(host)}"
    (await guest.post(f"v3/rooms/{escape(room_id)}/ban", {"user_id": stranger, "reason": "before they come"})).ok()
    await becomes(host, room_id, stranger, "ban")
    await agree(sides, room_id)
