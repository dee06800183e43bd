"""The administrator's commands about other servers, and what Prometheus is told of federation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import tomli_w
from click.testing import CliRunner, Result
from tests.federation.peers import Peer, running_peers
from tests.homeserver.running import MatrixClient, escape
from tests.patience import PATIENCE_SECONDS

from thingroom_homeserver.cli import homeserver_commands


def command(peer: Peer, *arguments: str) -> Result:
    config = Path(peer.config.data_directory).parent / f"{peer.federation_port}.toml"
    config.write_text(tomli_w.dumps({"homeserver": msgspec.to_builtins(peer.config)}), encoding="utf-8")
    return CliRunner().invoke(homeserver_commands, ["admin", "federation", *arguments, "--config", str(config)])


async def run(peer: Peer, *arguments: str) -> Result:
    return await asyncio.to_thread(command, peer, *arguments)


async def heard(client: MatrixClient, room_id: str, event_id: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while (await client.get(f"v3/rooms/{escape(room_id)}/event/{escape(event_id)}")).status != 200:
            await asyncio.sleep(0.05)


async def test_destinations_and_trying_one_again(tmp_path: Path):
    slow = {"backoff_initial_seconds": 600.0, "backoff_max_seconds": 600.0}
    async with running_peers(tmp_path, 2, federation=slow) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        assert (await run(one, "destinations")).output == "Nothing was sent to other servers yet.\n"
        assert (await run(one, "rooms", two.server_name)).output == f"No room is shared with {two.server_name}.\n"
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        sent = (
            await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", {"msgtype": "m.text", "body": "a"})
        ).ok()["event_id"]
        await heard(bob, room_id, sent)
        assert (await run(one, "rooms", two.server_name)).output == f"{room_id}\n"

        async with asyncio.timeout(PATIENCE_SECONDS):
            while "delivered 20" not in (await run(one, "destinations")).output:
                await asyncio.sleep(0.1)
        [line] = (await run(one, "destinations")).output.splitlines()
        assert line.startswith(f"{two.server_name}  1 room, 0 waiting, delivered 20"), line
        assert (await run(one, "destinations", "--failing")).output == "No server fails.\n"

        await two.stop()
        late = (
            await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/2", {"msgtype": "m.text", "body": "b"})
        ).ok()["event_id"]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while "failing since" not in (await run(one, "destinations", "--failing")).output:
                await asyncio.sleep(0.1)
        assert ", 1 waiting, " in (await run(one, "destinations")).output
        metrics = one.services.metrics.text().decode()
        assert 'thingroom_federation_backing_off{name="all"} 1.0' in metrics
        assert 'thingroom_federation_staged{name="all"} 0.0' in metrics

        await two.start()
        two.again(bob)
        async with asyncio.timeout(PATIENCE_SECONDS):
            result = await run(one, "retry", two.server_name)
        assert result.output == f"{two.server_name} is tried again.\n"
        await heard(bob, room_id, late)
        assert (await run(one, "destinations", "--failing")).output == "No server fails.\n"
        assert (await run(one, "retry", "unknown.example")).exit_code == 2


async def test_what_came_and_went_is_counted(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        alice, bob = await one.register("alice"), await two.register("bob")
        room_id = (await alice.post("v3/createRoom", {"preset": "public_chat"})).ok()["room_id"]
        (await bob.post(f"v3/join/{escape(room_id)}", via=one.server_name)).ok()
        before = one.services.federation.traffic.sent["pdus"]
        sent = (
            await alice.put(f"v3/rooms/{escape(room_id)}/send/m.room.message/1", {"msgtype": "m.text", "body": "a"})
        ).ok()["event_id"]
        await heard(bob, room_id, sent)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while one.services.federation.traffic.sent["pdus"] != before + 1:
                await asyncio.sleep(0.02)
        assert two.services.federation.traffic.received["pdus"] == before + 1
        assert f'thingroom_federation_received_total{{name="pdus"}} {before + 1}.0' in (
            two.services.metrics.text().decode()
        )


async def test_checking_a_server(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        result = await run(one, "check", two.server_name)
        assert result.exit_code == 0, result.output
        assert [line[0] for line in result.output.splitlines()] == ["✓"] * 4
        assert "runs Thingroom" in result.output
        assert (await run(one, "check", "not a name")).output.startswith("✗ not a name is not a server name")


async def test_checking_servers_that_are_away(tmp_path: Path):
    async with running_peers(tmp_path, 2) as (one, two):
        await one.stop()
        result = await run(one, "check", two.server_name)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith("✗ It does not believe this server")
        await two.stop()
        result = await run(one, "check", two.server_name)
        assert result.exit_code == 1
        assert result.output.splitlines()[-1].startswith("✗ It does not answer")
