"""Asking another homeserver step by step, as this one would, and saying in words where it ends.

May import federation and the configuration. Works beside a running server: it only reads the data directory.
Used by federation_commands.py. Source: Server-Server API, "Server discovery", "Request Authentication".
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.clock import SystemClock
from thingroom_homeserver.config import HomeserverConfig
from thingroom_homeserver.federation.client import FederationClient, path
from thingroom_homeserver.federation.connections import open_session
from thingroom_homeserver.federation.discovery import Discovery
from thingroom_homeserver.federation.dns_names import DnsNames
from thingroom_homeserver.federation.key_document import parse_key_document
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.federation.own_keys import OwnKeys
from thingroom_homeserver.federation.reachability import AlwaysTry
from thingroom_homeserver.federation.service import federates
from thingroom_homeserver.federation.well_known import WellKnown
from thingroom_homeserver.outgoing.guard import Guard
from thingroom_homeserver.outgoing.tls import outgoing_tls
from thingroom_homeserver.signing_key_file import load_or_make

SECONDS = 20.0


@dataclass(frozen=True)
class Finding:
    """What one step found. After one that is not good nothing more is tried."""

    good: bool
    text: str


async def check_server(config: HomeserverConfig, server_name: str) -> AsyncIterator[Finding]:
    """Find the server, ask it, check its key, and see whether it believes this server. Raises ConfigError, OSError."""
    if not federates(config):
        raise ConfigError('This server does not federate: no listener has "federation" in `serves`.')
    clock, names = SystemClock(), DnsNames()
    own_keys = OwnKeys(config.server_name, load_or_make(Path(config.data_directory)), (), clock)
    tls = outgoing_tls(config.outgoing_ca_file)
    async with contextlib.AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_session(names, Guard(config.outgoing_permitted_ranges), tls))
        well_known = WellKnown(http, clock)
        stack.push_async_callback(well_known.close)
        discovery = Discovery(names, well_known)
        route = await discovery.route_to(server_name)
        if route is None:
            yield Finding(False, f"{server_name} is not a server name, or says that it does not federate.")
            return
        targets = ", ".join(f"{target.host}:{target.port}" for target in route.targets)
        yield Finding(True, f"It is asked at {targets}, with a certificate for {route.tls_name}.")
        client = FederationClient(http, discovery, own_keys, AlwaysTry(), timeout_seconds=SECONDS)
        version = await client.request(server_name, "GET", path("v1", "version"), signed=False)
        if isinstance(version, Failed):
            yield Finding(False, f"It does not answer: {_printable(version.text)}.")
            return
        told = version.get("server")
        program = " ".join(str(told.get(key, "")) for key in ("name", "version")) if isinstance(told, dict) else "?"
        yield Finding(True, f"It answers, and runs {_printable(program)}.")
        document = await client.request(server_name, "GET", "/_matrix/key/v2/server", signed=False)
        if isinstance(document, Failed) or parse_key_document(document, server_name, clock.now_ms()) is None:
            yield Finding(False, "It shows no signing key that is signed with itself.")
            return
        yield Finding(True, "Its signing key is good.")
        yield await _is_believed(client, server_name)


async def _is_believed(client: FederationClient, server_name: str) -> Finding:
    """Any signed request will do: before it answers, the other server has to fetch this one's key, if it never did."""
    asked = await client.request(
        server_name, "GET", path("v1", "query", "profile"), query=(("user_id", f"@check:{server_name}"),)
    )
    if not isinstance(asked, Failed) or asked.status in (403, 404):
        return Finding(True, "It believes this server's signature, so it has found this server, now or before.")
    said = _printable(asked.text)
    return Finding(False, f"It does not believe this server, most likely because it cannot reach it: {said}.")


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:300]
