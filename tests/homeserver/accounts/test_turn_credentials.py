"""The credentials of /voip/turnServer, at the real coturn where it is installed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from tests.homeserver.running import ManualClock, MatrixClient, make_config, running_homeserver
from tests.patience import PATIENCE_SECONDS, tries

from thingroom_homeserver.accounts.turn import turn_credentials
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.config_accounts import Turn

SECRET = "north"


def test_a_known_answer() -> None:
    turn = Turn(uris=("turn:t:1",), shared_secret=SECRET, lifetime=3600)
    answer = turn_credentials(turn, "@a:b", 1_000_000_000_000)
    # echo -n "1000003600:@a:b" | openssl dgst -sha1 -hmac north -binary | base64
    assert answer == {
        "username": "1000003600:@a:b",
        "password": "VJC36SIB5IE+//qHZ17gFgKiQ1E=",
        "uris": ["turn:t:1"],
        "ttl": 3600,
    }


async def test_none_without_a_server(alice: MatrixClient) -> None:
    assert (await alice.get("v3/voip/turnServer")).ok() == {}


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def allocate(port: int, username: str, password: str) -> bool:
    """Whether coturn's own client gets a relay and gets its bytes back through it."""
    process = await asyncio.create_subprocess_exec(
        "turnutils_uclient", "-y", "-n", "2", "-m", "1", "-p", str(port), "-u", username, "-w", password, "127.0.0.1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return process.returncode == 0 and b"Total lost packets 0 " in output


async def test_coturn_accepts_them_until_they_end(tmp_path: Path) -> None:
    port = free_udp_port()
    coturn = await asyncio.create_subprocess_exec(
        "turnserver", "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={port}",
        "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=localhost", "--no-tls", "--no-dtls", "--no-cli",
        "--allow-loopback-peers", f"--userdb={tmp_path / 'turn.db'}", f"--pidfile={tmp_path / 'pid'}",
        "--log-file=stdout",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        turn = Turn(uris=(f"turn:127.0.0.1:{port}?transport=udp",), shared_secret=SECRET, lifetime=600)
        async with running_homeserver(make_config(tmp_path / "hs", turn=turn), clock=SystemClock()) as server:
            answer = (await (await server.register("alice")).get("v3/voip/turnServer")).ok()
            for _ in tries():
                if await allocate(port, answer["username"], answer["password"]):
                    break
                await asyncio.sleep(0.2)
            else:
                raise AssertionError("coturn refuses the credentials")
            assert not await allocate(port, answer["username"], "wrong")
            expired = turn_credentials(turn, "@alice:localhost", ManualClock().ms)
            assert not await allocate(port, expired["username"], expired["password"])
    finally:
        coturn.terminate()
        await coturn.wait()
