"""The network between servers: a gate in front of each, through which a test cuts links, loses answers and looks on.

A server is called after its gate ("localhost:PORT"). The gate ends TLS, reads in the X-Matrix header who is asking, and
passes the request on as it came, or does not. Requests without a signature (for keys) pass unless nobody reaches the
server. Everything that servers send to each other is noted: `Network.transactions`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import aiohttp
import orjson
import yarl
from aiohttp import web
from tests.federation.peers import Authority

from thingroom_homeserver.core.event import Event, parse_untrusted_pdu
from thingroom_homeserver.federation.x_matrix import parse_authorization

Link = Literal["up", "cut", "deaf", "mute"]
"""`deaf`: the request arrives, its answer does not. `mute`: everything passes but transactions."""
_SEND = re.compile(r"/_matrix/federation/v1/send/([^/?]+)")
_HOP_BY_HOP = {"connection", "host", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
MAX_BYTES = 64 * 1024 * 1024


@dataclass
class Network:
    """Every gate, and how each server reaches each other one."""

    authority: Authority
    http: aiohttp.ClientSession
    links: dict[tuple[str, str], Link] = field(default_factory=dict)
    """What is not "up", by who asks and who is asked."""
    room_versions: dict[str, str] = field(default_factory=dict)
    """Of rooms whose events are noted."""
    transactions: dict[tuple[str, str, str], list[list[str]]] = field(default_factory=dict)
    """By sender, receiver and transaction id: the ids of the events that it held, each time it was sent."""
    sent: dict[str, dict[str, Event]] = field(default_factory=dict)
    """By sender: the events that it sent."""
    acknowledged: dict[str, set[str]] = field(default_factory=dict)
    """By receiver: the events that it answered for without an error."""
    faults: list[str] = field(default_factory=list)
    """What no server may do, whoever it is."""
    _backends: dict[str, str] = field(default_factory=dict)
    _runners: list[web.AppRunner] = field(default_factory=list)

    async def open_gate(self) -> str:
        """A new gate; the name of the server that is to stand behind it."""
        app = web.Application(client_max_size=MAX_BYTES)
        name = ""

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._pass_on(name, request)

        app.router.add_route("*", "/{anything:.*}", handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self.authority.server_context("localhost")).start()
        self._runners.append(runner)
        name = f"localhost:{runner.addresses[0][1]}"
        return name

    def stands_behind(self, name: str, port: int) -> None:
        """From now on the gate of `name` leads to that port of loopback, which speaks TLS."""
        self._backends[name] = f"https://127.0.0.1:{port}"

    def cut(self, one: str, other: str, how: Link = "cut") -> None:
        """Both directions of a link."""
        self.links[one, other] = self.links[other, one] = how

    def isolate(self, name: str) -> None:
        for other in self._backends:
            if other != name:
                self.cut(name, other)

    def heal(self) -> None:
        self.links.clear()

    def names(self) -> list[str]:
        return list(self._backends)

    async def _pass_on(self, name: str, request: web.Request) -> web.StreamResponse:
        credentials = parse_authorization(request.headers.get("Authorization", ""))
        origin = None if credentials is None else credentials.origin
        body = await request.read()
        if name not in self._backends or self._state(origin, name) == "cut":
            return self._break(request)
        sent: list[str] = []
        if origin is not None and request.method == "PUT" and (match := _SEND.match(request.raw_path)):
            if self._state(origin, name) == "mute":
                return self._break(request)
            sent = self._note(origin, name, match[1], body)
        headers = [(key, value) for key, value in request.headers.items() if key.lower() not in _HOP_BY_HOP]
        headers.append(("Host", request.headers["Host"]))
        url = yarl.URL(self._backends[name] + request.raw_path, encoded=True)
        try:
            async with self.http.request(
                request.method, url, headers=headers, data=body or None, ssl=False, allow_redirects=False
            ) as response:
                data = await response.read()
        except (aiohttp.ClientError, OSError):
            return self._break(request)
        if sent and response.status == 200:
            results = orjson.loads(data)["pdus"]
            self.acknowledged.setdefault(name, set()).update(each for each in sent if results.get(each) == {})
        if self._state(origin, name) in ("cut", "deaf"):
            return self._break(request)
        kept = {key: value for key, value in response.headers.items() if key.lower() not in _HOP_BY_HOP}
        return web.Response(status=response.status, body=data, headers=kept)

    def _state(self, origin: str | None, name: str) -> Link:
        if origin is not None:
            return self.links.get((origin, name), "up")
        others = [other for other in self._backends if other != name]
        reached = any(self.links.get((other, name), "up") != "cut" for other in others)
        return "up" if reached else "cut"

    def _break(self, request: web.Request) -> web.Response:
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=502)

    def _note(self, origin: str, name: str, transaction_id: str, body: bytes) -> list[str]:
        """The ids of the transaction's events."""
        pdus = orjson.loads(body).get("pdus", [])
        events = list(self._known(pdus))
        held = self.transactions.setdefault((origin, name, transaction_id), [])
        held.append([event.event_id for event in events])
        if held[-1] != held[0]:
            self.faults.append(f"{origin} sent transaction {transaction_id} to {name} twice with other events")
        self.sent.setdefault(origin, {}).update((event.event_id, event) for event in events)
        return held[-1]

    def _known(self, pdus: Iterable[Any]) -> Iterable[Event]:
        for pdu in pdus:
            version = self.room_versions.get(pdu.get("room_id", ""))
            event = None if version is None else parse_untrusted_pdu(pdu, version)
            if isinstance(event, Event):
                yield event

    async def close(self) -> None:
        for runner in self._runners:
            await runner.cleanup()


@contextlib.asynccontextmanager
async def running_network(authority: Authority) -> AsyncIterator[Network]:
    """A network without servers yet."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as http:
        network = Network(authority, http)
        try:
            yield network
        finally:
            await network.close()
