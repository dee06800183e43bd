"""Which addresses are reached when users name the URL."""

from __future__ import annotations

import aiohttp
import pytest
from aiohttp import web

from thingroom_homeserver.http.outgoing import PermittedAddresses, guarded_connector

PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "0.0.0.0",
    "100.64.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "240.0.0.1",
    "::1",
    "::",
    "fe80::1",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1%eth0",
    "2001:db8::1",
    "192.0.2.1",
    "198.18.0.1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not PermittedAddresses().allows(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert PermittedAddresses().allows(address)


def test_permitted_ranges() -> None:
    permitted = PermittedAddresses(("10.0.0.0/8", "::1"))
    assert permitted.allows("10.9.9.9") and permitted.allows("::1") and permitted.allows("::ffff:10.0.0.1")
    assert not permitted.allows("127.0.0.1") and not permitted.allows("a name")
    with pytest.raises(ValueError, match="does not appear"):
        PermittedAddresses(("nonsense",))


async def test_the_connector_refuses_before_it_connects() -> None:
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/{tail:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        async with aiohttp.ClientSession(connector=guarded_connector(PermittedAddresses())) as http:
            for host in ("127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]"):
                with pytest.raises(aiohttp.ClientError):
                    await http.get(f"http://{host}:{port}/")
        assert asked == []
        permitted = guarded_connector(PermittedAddresses(("127.0.0.1",)))
        async with (
            aiohttp.ClientSession(connector=permitted) as http,
            http.get(f"http://127.0.0.1:{port}/there") as response,
        ):
            assert await response.text() == "here"
    finally:
        await runner.cleanup()
