"""A homeserver that says what a test tells it, and fails on what it was not told to expect.

It has a key, a name and a TLS listener on loopback; `answers` are its answers by method and path, `ask` sends a
request in its name, signed well unless the test wants otherwise. Nothing of our server runs in it: requests are signed
and read with the core's JSON and Ed25519 alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import yarl
from aiohttp import web
from tests.federation.peers import Authority
from tests.homeserver.running import Answer

from thingroom_homeserver.core.canonical_json import JsonObject, encode_canonical_json
from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json

DAY_MS = 24 * 3600 * 1000
Handler = Callable[[web.Request, Any], Awaitable[web.StreamResponse] | Any]


class ScriptedServer:
    """One such server. `requests` are those it got: method, path with query, decoded body."""

    def __init__(self, server_name: str, port: int, key: SigningKey, client: aiohttp.ClientSession) -> None:
        self.server_name = server_name
        self.port = port
        self.key = key
        self.requests: list[tuple[str, str, Any]] = []
        self.authorizations: list[str] = []
        self.surprises: list[str] = []
        self.valid_until_ts = int(time.time() * 1000) + DAY_MS
        self.old_keys: JsonObject = {}
        self.client = client
        self._answers: list[tuple[str, re.Pattern[str], Any]] = []
        self.on("GET", r"/_matrix/key/v2/server", lambda request, body: self.key_document())

    def on(self, method: str, path_pattern: str, answer: Handler | JsonObject) -> None:
        """From now on answer so where the decoded path matches whole. The last one told wins.

        `answer` is the JSON of a 200, or a function of the aiohttp request and the decoded body that gives that, a
        response, or an awaitable of either.
        """
        self._answers.append((method, re.compile(path_pattern), answer))

    def key_document(self) -> JsonObject:
        """What /_matrix/key/v2/server answers."""
        unsigned = {
            "server_name": self.server_name,
            "valid_until_ts": self.valid_until_ts,
            "verify_keys": {self.key.key_id: {"key": encode_base64(self.key.public_key)}},
            "old_verify_keys": self.old_keys,
        }
        return sign_json(unsigned, self.server_name, self.key)

    def authorization(self, method: str, uri: str, to: str, body: JsonObject | None, /, **changes: str) -> str:
        """An X-Matrix header. `changes` replace parameters after the signature is made."""
        request = {"method": method, "uri": uri, "origin": self.server_name, "destination": to}
        if body is not None:
            request["content"] = body  # type: ignore[assignment]
        signature = sign_json(request, self.server_name, self.key)["signatures"][self.server_name][self.key.key_id]
        fields = {"origin": self.server_name, "destination": to, "key": self.key.key_id, "sig": signature}
        return "X-Matrix " + ",".join(f'{name}="{value}"' for name, value in (fields | changes).items())

    async def ask(
        self,
        base_url: str,
        destination: str,
        method: str,
        uri: str,
        body: JsonObject | None = None,
        *,
        authorization: str | None = None,
    ) -> Answer:
        """Send a request in this server's name. `uri` is the percent-encoded path with the query."""
        header = authorization or self.authorization(method, uri, destination, body)
        data = None if body is None else encode_canonical_json(body, strict=False)
        headers = {"Authorization": header, "Content-Type": "application/json"}
        url = yarl.URL(base_url + uri, encoded=True)
        async with self.client.request(method, url, data=data, headers=headers) as response:
            text = await response.read()
            return Answer(response.status, json.loads(text) if text else None, response.headers)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.read()
        body = json.loads(text) if text else None
        self.requests.append((request.method, request.raw_path, body))
        self.authorizations += request.headers.getall("Authorization", [])
        for method, pattern, answer in reversed(self._answers):
            if method == request.method and pattern.fullmatch(request.path):
                result = answer(request, body) if callable(answer) else answer
                if isinstance(result, Awaitable):
                    result = await result
                return result if isinstance(result, web.StreamResponse) else web.json_response(result)
        self.surprises.append(f"{request.method} {request.raw_path}")
        return web.json_response({"errcode": "M_UNRECOGNIZED", "error": "a surprise"}, status=404)


@contextlib.asynccontextmanager
async def scripted_server(
    authority: Authority, *, tls: ssl.SSLContext | None = None, server_name: str | None = None, strict: bool = True
) -> AsyncIterator[ScriptedServer]:
    """A server at "localhost:PORT" until the block ends. `strict`: a request that it was not told of fails the test."""
    runner_app = web.Application(client_max_size=64 * 1024 * 1024)
    runner = web.AppRunner(runner_app, access_log=None, shutdown_timeout=0.2)
    servers: list[ScriptedServer] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        return await servers[0].handle(request)

    runner_app.router.add_route("*", "/{tail:.*}", handle)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls or authority.server_context("localhost"))
        await site.start()
        key = SigningKey.from_seed("ed25519:scripted", os.urandom(32))
        trusting = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=str(authority.ca_file)))
        async with aiohttp.ClientSession(connector=trusting) as client:
            port = runner.addresses[0][1]
            server = ScriptedServer(server_name or f"localhost:{port}", port, key, client)
            servers.append(server)
            yield server
            assert not (strict and server.surprises), server.surprises
    finally:
        await runner.cleanup()
