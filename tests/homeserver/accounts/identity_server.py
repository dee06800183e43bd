"""A small identity server over TLS: hashed lookups, stored invites with real keys, binding, and signed unbinding."""

from __future__ import annotations

import hashlib
import re
import secrets
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trustme
from aiohttp import web

from thingroom_homeserver.core.signing import SigningKey, encode_base64, sign_json, verify_json

TOKEN = "their-token"
NAME = "identity.test"


class IdentityServer:
    """What it knows and was asked. `homeserver_key`: the public key that unbinding must be signed with."""

    def __init__(self) -> None:
        self.key = SigningKey.from_seed("ed25519:0", secrets.token_bytes(32))
        self.pepper = "matrixrocks"
        self.algorithms = ["none", "sha256"]
        self.known: dict[tuple[str, str], str] = {}
        self.sessions: dict[tuple[str, str], tuple[str, str]] = {}
        self.invites: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refuse: tuple[int, Any] | None = None
        self.stale_pepper = False
        self.port = 0
        self.homeserver_key = b""

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def signed(self, user_id: str, token: str) -> dict[str, Any]:
        """The statement that `user_id` has the address invited under `token`."""
        return sign_json({"mxid": user_id, "sender": "@alice:localhost", "token": token}, NAME, self.key)

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(f"{request.method} {request.path}")
        if self.refuse is not None:
            status, body = self.refuse
            return web.json_response(body, status=status) if body is not None else web.Response(status=status)
        path = request.path.removeprefix("/_matrix/identity/v2/")
        if path == "pubkey/isvalid":
            return web.json_response({"valid": request.query["public_key"] == encode_base64(self.key.public_key)})
        body = await request.json() if request.can_read_body else {}
        if path == "3pid/unbind":
            return self._unbind(request, body)
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.json_response({"errcode": "M_UNAUTHORIZED", "error": "who?"}, status=401)
        return web.json_response(*self._answer(path, body))

    def _answer(self, path: str, body: dict[str, Any]) -> tuple[dict[str, Any]]:
        if path == "hash_details":
            return ({"lookup_pepper": self.pepper, "algorithms": self.algorithms},)
        if path == "lookup":
            if self.stale_pepper:
                self.stale_pepper, self.pepper = False, "fresh"
            if body["pepper"] != self.pepper:
                raise web.HTTPBadRequest(
                    text='{"errcode": "M_INVALID_PEPPER", "error": "old"}', content_type="application/json"
                )
            hashed = {self._hashed(medium, address): user for (medium, address), user in self.known.items()}
            wanted = body["addresses"]
            assert body["algorithm"] == "sha256"
            return ({"mappings": {each: hashed[each] for each in wanted if each in hashed}},)
        if path == "store-invite":
            self.invites.append(body | {"token": f"token{len(self.invites)}"})
            keys = [
                {
                    "public_key": encode_base64(key),
                    "key_validity_url": f"https://{self.host}/_matrix/identity/v2/pubkey/isvalid",
                }
                for key in (self.key.public_key, secrets.token_bytes(32))
            ]
            return ({"token": self.invites[-1]["token"], "public_keys": keys, "display_name": "b...@e..."},)
        assert path == "3pid/bind", path
        medium, address = self.sessions[body["sid"], body["client_secret"]]
        self.known[medium, address] = body["mxid"]
        bound = {"medium": medium, "address": address, "mxid": body["mxid"], "ts": 1, "not_before": 1, "not_after": 2}
        return (sign_json(bound, NAME, self.key),)

    def _unbind(self, request: web.Request, body: dict[str, Any]) -> web.Response:
        header = dict(re.findall(r'(\w+)="([^"]*)"', request.headers["Authorization"].removeprefix("X-Matrix ")))
        claim = {
            "method": "POST",
            "uri": request.path,
            "origin": header["origin"],
            "destination": self.host,
            "content": body,
            "signatures": {header["origin"]: {header["key"]: header["sig"]}},
        }
        if not verify_json(claim, "localhost", header["key"], self.homeserver_key):
            return web.json_response({"errcode": "M_FORBIDDEN", "error": "bad signature"}, status=403)
        threepid = body["threepid"]
        assert self.known.pop((threepid["medium"], threepid["address"])) == body["mxid"]
        return web.json_response({})

    def _hashed(self, medium: str, address: str) -> str:
        digest = hashlib.sha256(f"{address} {medium} {self.pepper}".encode()).digest()
        return urlsafe_b64encode(digest).rstrip(b"=").decode()


@asynccontextmanager
async def running_identity_server(ca_file: Path) -> AsyncIterator[IdentityServer]:
    """One on localhost, whose certificate's authority is written to `ca_file`."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(ca_file)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    server = IdentityServer()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        server.port = runner.addresses[0][1]
        yield server
    finally:
        await runner.cleanup()
