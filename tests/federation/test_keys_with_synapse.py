"""Keys and authenticated requests with a real Synapse: both ways, through rotations, and as notaries of each other."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tests.federation.peers import Authority, Peer, running_peer, running_synapse_peer, synapse_client, synapse_place
from tests.federation.scripted import ScriptedServer, scripted_server
from tests.synapse_peer.server import Synapse

from thingroom_homeserver.core.signing import verify_json
from thingroom_homeserver.federation.client import path
from thingroom_homeserver.signing_key_file import rotate

PROFILE = path("v1", "query", "profile")
SERVER_KEYS = "/_matrix/key/v2/server"


async def profile_there(one: Peer, synapse: Synapse, user_id: str) -> Any:
    """A profile of Synapse's, asked for by our server. Synapse checks the signature of the request."""
    name = synapse.settings.server_name
    return await one.services.federation.client.request(name, "GET", PROFILE, query=[("user_id", user_id)])


async def test_keys_and_requests_both_ways_and_through_rotations(tmp_path: Path, authority: Authority) -> None:
    place = synapse_place(tmp_path / "synapse", authority)
    async with running_peer(tmp_path / "one", authority) as one, aiohttp.ClientSession() as http:
        synapse = await place.start()
        try:
            erin = await synapse_client(http, synapse, "erin")
            (await erin.put(f"v3/profile/{erin.user_id}/displayname", {"displayname": "Erin"})).ok()
            assert await profile_there(one, synapse, erin.user_id) == {"displayname": "Erin"}
            alice = await one.register("alice")
            (await alice.put(f"v3/profile/{alice.user_id}/displayname", {"displayname": "Alice"})).ok()
            assert (await erin.get(f"v3/profile/{alice.user_id}")).ok()["displayname"] == "Alice"

            # Our key changes: Synapse believes the new one, and keeps the old one for what it has signed.
            old = one.services.signing_key
            await one.stop()
            rotate(Path(one.config.data_directory), int(time.time() * 1000))
            await one.start()
            new = one.services.signing_key
            assert await profile_there(one, synapse, erin.user_id) == {"displayname": "Erin"}
            name = synapse.settings.server_name
            seen = await one.services.federation.client.request(name, "GET", f"/_matrix/key/v2/query/{one.server_name}")
            assert isinstance(seen, dict), seen
            newest = max(seen["server_keys"], key=lambda document: document["valid_until_ts"])
            assert verify_json(newest, one.server_name, new.key_id, new.public_key)
            assert list(newest["verify_keys"]) == [new.key_id]
            assert list(newest["old_verify_keys"]) == [old.key_id]

            # Synapse's key changes: we believe the new one at once, and the old one for its time.
            keys = one.services.federation.keys
            [was] = (await request_keys(one, name))["verify_keys"]
            before = keys.known_request_key(name, was)
            assert before is not None
            await synapse.stop()
            expired = int(time.time() * 1000)
            seed = base64.b64encode(os.urandom(32)).decode().rstrip("=")
            (tmp_path / "synapse" / "signing.key").write_text(f"ed25519 a_new {seed}\n")
            public = base64.b64encode(before).decode().rstrip("=")
            place.settings.extra["old_signing_keys"] = {was: {"key": public, "expired_ts": expired}}  # type: ignore[index]
            synapse = await place.start()
            erin.base_url = synapse.base_url
            bob = await one.register("bob")
            (await bob.put(f"v3/profile/{bob.user_id}/displayname", {"displayname": "Bob"})).ok()
            assert (await erin.get(f"v3/profile/{bob.user_id}")).ok() == {"displayname": "Bob"}
            assert keys.known_request_key(name, "ed25519:a_new") is not None
            assert keys.known_request_key(name, was) is None
            assert await keys.public_key(name, was, expired) == before
            assert await keys.public_key(name, was, expired + 1) is None
        finally:
            await synapse.stop()


async def request_keys(one: Peer, name: str) -> Any:
    return await one.services.federation.client.request(name, "GET", SERVER_KEYS, signed=False)


async def test_each_vouches_for_a_server_that_the_other_cannot_ask(tmp_path: Path, authority: Authority) -> None:
    async with (
        scripted_server(authority) as early,
        scripted_server(authority) as late,
        running_peer(tmp_path / "one", authority) as one,
    ):
        trusting = {"trusted_key_servers": [{"server_name": one.server_name}]}
        async with running_synapse_peer(tmp_path / "synapse", authority, extra=trusting) as synapse:
            name = synapse.settings.server_name
            at_synapse = f"https://localhost:{name.rpartition(':')[2]}"
            nobody = f"{PROFILE}?user_id=%40nobody%3A{name.replace(':', '%3A')}"

            async def asks_synapse(server: ScriptedServer) -> Any:
                return await server.ask(at_synapse, name, "GET", nobody)

            # We have seen the early server's keys; Synapse hears of them from us.
            found = await one.services.federation.keys.request_key(early.server_name, early.key.key_id)
            assert found == early.key.public_key
            early.on("GET", SERVER_KEYS + "(/.*)?", lambda request, body: web.Response(status=500))
            answer = await asks_synapse(early)
            answer.is_error(404, "M_NOT_FOUND")  # whoever is not believed gets a 401

            # Synapse has seen the late one's; a server of ours that trusts Synapse hears of them from it.
            late.on("GET", SERVER_KEYS + "(/.*)?", lambda request, body: late.key_document())
            (await asks_synapse(late)).is_error(404, "M_NOT_FOUND")
            late.on("GET", SERVER_KEYS + "(/.*)?", lambda request, body: web.Response(status=500))
            trust = {"trusted_key_servers": (name,)}
            async with running_peer(tmp_path / "two", authority, federation=trust) as two:
                found = await two.services.federation.keys.request_key(late.server_name, late.key.key_id)
                assert found == late.key.public_key
