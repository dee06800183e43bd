"""Two of our servers, and scripted ones: keys are fetched and kept, requests are signed and checked."""

from __future__ import annotations

from pathlib import Path

from tests.federation.peers import running_peers

from thingroom_homeserver.federation.client import path

VERSION = path("v1", "version")


async def test_two_servers_know_each_other(tmp_path: Path) -> None:
    async with running_peers(tmp_path, 2) as (one, two):
        answer = await one.services.federation.client.request(two.server_name, "GET", VERSION)
        assert isinstance(answer, dict), answer
        assert answer["server"]["name"] == "Thingroom"
        key = two.services.signing_key
        found = await one.services.federation.keys.request_key(two.server_name, key.key_id)
        assert found == key.public_key
