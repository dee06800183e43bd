"""Which addresses are reached when users name the URL."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import trustme
from aiohttp import web

from thingroom_common.config_file import ConfigError
from thingroom_homeserver.outgoing.guard import Guard, guarded_connector
from thingroom_homeserver.outgoing.tls import outgoing_tls

PRIVATE = """
    127.0.0.1 127.255.0.1 10.0.0.1 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 0.1.2.3 224.0.0.1
    239.1.1.1 240.0.0.1 255.255.255.255 192.0.0.1 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 192.88.99.1
    ::1 :: fe80::1 fe80::1%eth0 fc00::1 fd12::1 ff02::1 ff0e::1 fec0::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::127.0.0.1
    64:ff9b::7f00:1 64:ff9b::a00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 100::1 localhost x
"""
PUBLIC = "1.1.1.1 93.184.216.34 2606:4700::1111 ::ffff:1.1.1.1 64:ff9b::101:101"


@pytest.mark.parametrize("address", re.findall(r"\S+", PRIVATE))
def test_private_addresses_are_refused(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize("address", re.findall(r"\S+", PUBLIC))
def test_public_addresses_are_allowed(address: str) -> None:
    assert Guard().permits(address)


def test_permitted_ranges() -> None:
    permitted = Guard(("10.0.0.0/8", "::1"))
    assert permitted.permits("10.9.9.9") and permitted.permits("::1") and permitted.permits("::ffff:10.0.0.1")
    assert not permitted.permits("127.0.0.1") and not permitted.permits("a name")
    with pytest.raises(ValueError, match="does not appear"):
        Guard(("nonsense",))


@contextlib.asynccontextmanager
async def running_site(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """The port of a web server on 127.0.0.1 and the paths that it was asked for."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        if "to" in request.query:
            raise web.HTTPFound(request.query["to"])
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1], asked
    finally:
        await runner.cleanup()


async def get(connector: aiohttp.TCPConnector, url: str) -> str:
    async with aiohttp.ClientSession(connector=connector) as http, http.get(url) as response:
        return await response.text()


async def test_the_connector_refuses_before_it_connects() -> None:
    async with running_site() as (port, asked):
        for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(aiohttp.ClientError):
                await get(guarded_connector(Guard()), f"http://{host}:{port}/")
        assert asked == []
        permitted = Guard(("127.0.0.1",))
        assert await get(guarded_connector(permitted), f"http://127.0.0.1:{port}/there") == "here"
        assert await get(guarded_connector(permitted), f"http://localhost:{port}/there") == "here"
        with pytest.raises(aiohttp.ClientError):
            await get(guarded_connector(permitted), f"http://127.0.0.1:{port}/?to=http://127.0.0.2:{port}/secret")
        assert asked == ["/there", "/there", "/"]


async def test_a_file_of_authorities_is_trusted_besides_the_systems(tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    trusting = outgoing_tls(str(tmp_path / "ca.pem"))
    assert trusting is not None and outgoing_tls("") is None
    guard = Guard(("127.0.0.1",))
    async with running_site(tls) as (port, _):
        assert await get(guarded_connector(guard, tls=trusting), f"https://localhost:{port}/") == "here"
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(guarded_connector(guard), f"https://localhost:{port}/")
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(guarded_connector(guard, tls=trusting), f"https://127.0.0.1:{port}/")
    for nothing in ("missing.pem", "empty.pem"):
        (tmp_path / "empty.pem").write_text("x")
        with pytest.raises(ConfigError, match="outgoing_ca_file"):
            outgoing_tls(str(tmp_path / nothing))
