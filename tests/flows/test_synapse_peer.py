"""The Synapse that other tests and the benchmarks lean on: it starts, does what it is configured to, and stops."""

import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.synapse_peer.server import Account, Synapse, SynapseFailed, SynapseSettings, running_synapse

MESSAGE = {"msgtype": "m.text", "body": "hello"}


async def call(
    synapse: Synapse, token: str, method: str, path: str, body: dict[str, Any] | None = None, **query: str
) -> tuple[int, dict[str, Any]]:
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{synapse.base_url}/_matrix/client/v3/{path}"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, url, json=body, params=query) as response,
    ):
        return response.status, await response.json()


async def send_many(synapse: Synapse, account: Account, count: int) -> list[int]:
    status, room = await call(synapse, account.access_token, "POST", "createRoom", {})
    assert status == 200, room
    return [
        (
            await call(
                synapse,
                account.access_token,
                "PUT",
                f"rooms/{room['room_id']}/send/m.room.message/{number}",
                MESSAGE,
            )
        )[0]
        for number in range(count)
    ]


async def test_it_keeps_its_data_over_a_restart_and_its_port_is_free_afterwards(tmp_path: Path) -> None:
    async with running_synapse(tmp_path / "synapse") as synapse:
        account = await synapse.register("alice")
        assert account.user_id == "@alice:synapse.test"
        # Synapse's own limit would stop after a burst of 10.
        assert await send_many(synapse, account, 15) == [200] * 15
        with pytest.raises(SynapseFailed, match="already taken"):
            await synapse.register("alice")
        port = int(synapse.base_url.rsplit(":", 1)[1])
    assert synapse.process.returncode == 0
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))

    limited = SynapseSettings(default_rate_limits=True)
    async with running_synapse(tmp_path / "synapse", limited) as synapse:
        status, whoami = await call(synapse, account.access_token, "GET", "account/whoami")
        assert (status, whoami["user_id"]) == (200, "@alice:synapse.test")
        assert 429 in await send_many(synapse, account, 15)


async def test_an_application_service_can_register_and_act_for_its_ghosts(tmp_path: Path) -> None:
    registration = tmp_path / "registration.yaml"
    registration.write_text(
        json.dumps(
            {
                "id": "test",
                "url": None,
                "as_token": "as-secret",
                "hs_token": "hs-secret",
                "sender_localpart": "bot",
                "rate_limited": False,
                "namespaces": {"users": [{"exclusive": True, "regex": "@thing_.*:synapse\\.test"}]},
            }
        )
    )
    settings = SynapseSettings(appservice_files=(registration,))
    async with running_synapse(tmp_path / "synapse", settings) as synapse:
        ghost = {"type": "m.login.application_service", "username": "thing_kitchen"}
        status, answer = await call(synapse, "as-secret", "POST", "register", ghost)
        assert (status, answer.get("user_id")) == (200, "@thing_kitchen:synapse.test"), answer
        status, answer = await call(
            synapse, "as-secret", "GET", "account/whoami", user_id="@thing_kitchen:synapse.test"
        )
        assert (status, answer["user_id"]) == (200, "@thing_kitchen:synapse.test")


async def test_a_failed_start_says_why(tmp_path: Path) -> None:
    broken = SynapseSettings(extra={"database": {"name": "no-such-engine"}})
    with pytest.raises(SynapseFailed, match="no-such-engine"):
        async with running_synapse(tmp_path / "synapse", broken):
            pass
