"""Servers that federate over loopback: ours in this process or as processes, real Synapse, and whom they all trust.

Everything listens on 127.0.0.1 and is called "localhost:PORT", so that there is nothing to look up. `running_peers`
gives any number of ours, `running_synapse_peer` a Synapse; `scripted.py` has a server that says what a test tells it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import orjson
import tomli_w
import trustme
from aiohttp import web
from tests.free_port import free_port
from tests.homeserver.running import MatrixClient, RunningHomeserver, make_config
from tests.patience import PATIENCE_SECONDS
from tests.specification import Violation, specification
from tests.synapse_peer.server import Synapse, SynapseSettings, running_synapse, start_synapse

from thingroom_homeserver.clock import Clock
from thingroom_homeserver.config import HomeserverConfig, Listener
from thingroom_homeserver.config_federation import FederationConfig
from thingroom_homeserver.core.canonical_json import encode_json
from thingroom_homeserver.federation.discovery import Names
from thingroom_homeserver.http.endpoint import Auth, Endpoint, Request
from thingroom_homeserver.http.protocol import MatrixRunner
from thingroom_homeserver.server import ENDPOINTS, FEDERATION_ENDPOINTS, SERVICES, build_app
from thingroom_homeserver.services import Services

REQUEST_SECONDS = 15.0
"""After so long our servers give up a request to another: who waited for one took longer."""
OUR_NAMES: set[str] = set()
"""Of the servers in this process: what they ask for is held against the specification."""
LOOPBACK = ("127.0.0.0/8", "::1")
ALL_ENDPOINTS: tuple[Endpoint, ...] = (
    *ENDPOINTS,
    *(endpoint for endpoint in FEDERATION_ENDPOINTS if endpoint not in ENDPOINTS),
)


ALLOWED_FAULTS = ("at $.event: 'origin' is a required property",)
"""The documents of invites have a field that the PDUs of no room version have any more."""


def _is_known(method: str, path: str) -> bool:
    found = specification()
    return found is not None and found.operation(method, path) is not None


class Authority:
    """A certificate authority of the tests. `ca_file` is what its peers trust."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._authority = trustme.CA()
        self.ca_file = directory / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.ca_file))

    def files(self, *names: str) -> tuple[Path, Path]:
        """The certificate chain and the key for `names` (host names or addresses), as files."""
        issued = self._authority.issue_cert(*names)
        stem = names[0].replace("*", "any").replace(":", "_")
        certificate, key = self._directory / f"{stem}.pem", self._directory / f"{stem}.key"
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(key))
        return certificate, key

    def server_context(self, *names: str) -> ssl.SSLContext:
        """A context for a server that is called any of `names`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(*names).configure_cert(context)
        return context


class ReservedPort:
    """A port of loopback that stays ours between two servers on it: bound, and not listened on."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.number = int(self._socket.getsockname()[1])

    def close(self) -> None:
        self._socket.close()


def peer_config(
    directory: Path, authority: Authority, server_name: str, listeners: tuple[Listener, ...], changes: Mapping[str, Any]
) -> HomeserverConfig:
    """The configuration of one of our servers: loopback permitted, short back-off, the authority trusted."""
    federation = FederationConfig(
        request_timeout_seconds=REQUEST_SECONDS,
        backoff_initial_seconds=0.2,
        backoff_max_seconds=2.0,
    )
    changes = dict(changes)
    federation = msgspec.structs.replace(federation, **changes.pop("federation", {}))
    fixed = {
        "server_name": server_name,
        "listeners": listeners,
        "outgoing_permitted_ranges": LOOPBACK,
        "outgoing_ca_file": str(authority.ca_file),
        "federation": federation,
    }
    directory.mkdir(parents=True, exist_ok=True)
    return make_config(directory, **(fixed | changes))


class Peer(RunningHomeserver):
    """One of our servers in this process. It may be stopped, and started again with its data, name and port."""

    def __init__(
        self,
        directory: Path,
        authority: Authority,
        *,
        clock: Clock | None = None,
        names: Names | None = None,
        endpoints: Iterable[Endpoint] = ALL_ENDPOINTS,
        host: str = "localhost",
        **changes: Any,
    ) -> None:
        """`changes` are of the configuration; those of its federation section are a dict under "federation".

        `host`: the server's name before its port.
        """
        self._port = ReservedPort()
        self.federation_port = self._port.number
        self.server_name: str = changes.pop("server_name", f"{host}:{self.federation_port}")
        self._tls = authority.server_context("localhost", "127.0.0.1", "::1", *changes.pop("certificate_names", ()))
        self._clock, self._names = clock, names
        self._endpoints = tuple(map(self._checked, endpoints))
        listener = Listener(address=f"127.0.0.1:{self.federation_port}", serves=("client", "federation"))
        self.config = peer_config(directory, authority, self.server_name, (listener,), changes)
        self._runner: web.AppRunner | None = None
        self.http = None  # type: ignore[assignment]
        self.violations: list[str] = []
        OUR_NAMES.add(self.server_name)
        self._numbers = itertools.count(1)
        self.base_url = ""
        self.services = None  # type: ignore[assignment]

    async def start(self) -> None:
        app = build_app(self.config, clock=self._clock, endpoints=self._endpoints, names=self._names)
        self._runner = MatrixRunner(app, seconds_to_finish=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        site = web.TCPSite(self._runner, "127.0.0.1", self.federation_port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        self.services = app[SERVICES]
        self.http = aiohttp.ClientSession()

    def _checked(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint, held against the specification: what it answers to anybody, what our servers ask of it.

        Contents of events are not looked at: tests send odd ones.
        """
        held_against = specification()
        if held_against is None or not endpoint.paths[0].startswith(("/_matrix/federation/", "/_matrix/key/")):
            return endpoint

        async def handler(request: Request, services: Services) -> Any:
            path = request.http.raw_path.partition("?")[0]
            result = await endpoint.handler(request, services)
            try:
                if endpoint.auth is Auth.SERVER and request.origin in OUR_NAMES and _is_known(request.method, path):
                    body = request.body if request.raw_body else None
                    held_against.check_request(request.method, path, body, events=False)
                status, kind, data = 200, "application/json", result
                if isinstance(result, web.Response):
                    status, kind, data = result.status, result.content_type, result.body
                elif isinstance(result, web.StreamResponse):
                    return result  # sent already
                if kind == "application/json":
                    data = orjson.loads(data if isinstance(data, bytes) else encode_json(data))
                    held_against.check(request.method, path, status, kind, data, events=False)
            except Violation as violation:
                if not str(violation).endswith(ALLOWED_FAULTS):
                    self.violations.append(str(violation))
            return result

        return replace(endpoint, handler=handler)

    async def stop(self) -> None:
        """Safe to call twice. Its clients have to be made again after the next start: the address for them changes."""
        if self._runner is not None:
            if self.http is not None:
                await self.http.close()
            await self._runner.cleanup()
            self._runner = None

    async def close(self) -> None:
        await self.stop()
        self._port.close()

    def again(self, client: MatrixClient) -> MatrixClient:
        """The same session, after the server was stopped and started."""
        client.http, client.base_url = self.http, self.base_url
        return client


@contextlib.asynccontextmanager
async def running_peer(directory: Path, authority: Authority, **options: Any) -> AsyncIterator[Peer]:
    """One of our servers. `options` are those of `Peer`."""
    peer = Peer(directory, authority, **options)
    try:
        await peer.start()
        yield peer
    finally:
        await peer.close()
    assert not peer.violations, peer.violations


@contextlib.asynccontextmanager
async def running_peers(
    directory: Path, count: int = 2, authority: Authority | None = None, **options: Any
) -> AsyncIterator[list[Peer]]:
    """So many of our servers, each with its data in a folder of its own."""
    authority = authority or Authority(directory / "authority")
    async with contextlib.AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(running_peer(directory / f"server{number}", authority, **options))
            for number in range(1, count + 1)
        ]


class ProcessPeer:
    """One of our servers as a process group of its own: it may be killed at any moment, and started again."""

    def __init__(self, directory: Path, authority: Authority, **changes: Any) -> None:
        self._port = ReservedPort()
        self._client_port = ReservedPort()
        self.server_name: str = changes.pop("server_name", f"localhost:{self._port.number}")
        self.federation_port = self._port.number
        self.base_url = f"http://127.0.0.1:{self._client_port.number}"
        self.process: asyncio.subprocess.Process | None = None
        self._directory = directory
        certificate, key = authority.files("localhost", "127.0.0.1")
        listeners = (
            Listener(address=f"127.0.0.1:{self._client_port.number}"),
            Listener(
                address=f"127.0.0.1:{self._port.number}",
                tls_certificate=str(certificate),
                tls_key=str(key),
                serves=("federation",),
            ),
        )
        config = peer_config(directory / "data", authority, self.server_name, listeners, changes)
        text = tomli_w.dumps({"homeserver": msgspec.to_builtins(config)})
        (directory / "thingroom.toml").write_text(text, encoding="utf-8")

    @property
    def log_path(self) -> Path:
        return self._directory / "server.log"

    async def start(self) -> None:
        """Start and wait until it answers. Raises RuntimeError with the end of its log."""
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "thingroom_homeserver", "--config", str(self._directory / "thingroom.toml")),
                cwd=self._directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,
            )
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), aiohttp.ClientSession() as session:
                while True:
                    if self.process.returncode is not None:
                        raise TimeoutError
                    with contextlib.suppress(aiohttp.ClientError):
                        async with session.get(f"{self.base_url}/_matrix/client/versions") as response:
                            if response.status == 200:
                                return
                    await asyncio.sleep(0.02)
        except TimeoutError:
            await self.kill()
            raise RuntimeError(f"the server did not start:\n{self.log_path.read_text()[-4000:]}") from None

    async def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await asyncio.wait_for(self.process.wait(), PATIENCE_SECONDS)

    async def kill(self) -> None:
        """SIGKILL to the whole group."""
        if self.process is not None and self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            await self.process.wait()

    async def close(self) -> None:
        await self.kill()
        self._port.close()
        self._client_port.close()


@contextlib.asynccontextmanager
async def running_process_peer(directory: Path, authority: Authority, **changes: Any) -> AsyncIterator[ProcessPeer]:
    """One of our servers as a process. `changes` are of its configuration."""
    directory.mkdir(parents=True, exist_ok=True)
    peer = ProcessPeer(directory, authority, **changes)
    try:
        await peer.start()
        yield peer
    finally:
        await peer.close()


@dataclass(frozen=True)
class SynapsePlace:
    """Where a Synapse lives: the same place gives the same server again after it was stopped."""

    directory: Path
    settings: SynapseSettings
    server_name: str

    async def start(self) -> Synapse:
        return await start_synapse(self.directory, self.settings)


def synapse_place(
    directory: Path,
    authority: Authority,
    *,
    port: int | None = None,
    server_name: str | None = None,
    extra: Mapping[str, Any] = {},
    **settings: Any,
) -> SynapsePlace:
    """A Synapse that federates over TLS on loopback, trusts the authority, and gives up on nobody for long.

    `server_name` is for one that others reach by way of something else: it listens on `port` all the same.
    """
    port = port or free_port()
    certificate, key = authority.files("localhost", "127.0.0.1")
    listener = {
        "port": port,
        "type": "http",
        "tls": True,
        "bind_addresses": ["127.0.0.1"],
        "resources": [{"names": ["federation"], "compress": False}],
    }
    server_name = server_name or f"localhost:{port}"
    defaults: dict[str, Any] = {
        "tls_certificate_path": str(certificate),
        "tls_private_key_path": str(key),
        "federation_custom_ca_list": [str(authority.ca_file)],
        "ip_range_blacklist": [],
        "federation_ip_range_blacklist": [],
        "allow_public_rooms_over_federation": True,
        "room_list_publication_rules": [{"action": "allow"}],
        "allow_profile_lookup_over_federation": True,
        "allow_device_name_lookup_over_federation": True,
        "federation": {
            "client_timeout": "15s",
            "destination_min_retry_interval": "1s",
            "destination_retry_multiplier": 2,
            "destination_max_retry_interval": "2s",
            "max_short_retry_delay": "1s",
            "max_long_retry_delay": "2s",
        },
    }
    return SynapsePlace(
        directory,
        SynapseSettings(server_name=server_name, listeners=(listener,), extra={**defaults, **extra}, **settings),
        server_name,
    )


@contextlib.asynccontextmanager
async def running_synapse_peer(directory: Path, authority: Authority, **options: Any) -> AsyncIterator[Synapse]:
    """A Synapse. `options` are those of `synapse_place`; its name is `synapse.settings.server_name`."""
    place = synapse_place(directory, authority, **options)
    async with running_synapse(place.directory, place.settings) as synapse:
        yield synapse


async def synapse_client(http: aiohttp.ClientSession, synapse: Synapse, localpart: str) -> MatrixClient:
    """A new user of that Synapse, logged in. Its answers are not held against the specification."""
    account = await synapse.register(localpart)
    client = MatrixClient(http, synapse.base_url, account.access_token)
    client.user_id, client.device_id = account.user_id, account.device_id
    client.asks_another_server = True
    return client
