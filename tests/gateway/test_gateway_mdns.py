"""What the gateway advertises by multicast DNS, and that a node on MicroPython finds it by that."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.micropython_runner import command
from tests.patience import tries
from zeroconf import IPVersion
from zeroconf.asyncio import AsyncServiceInfo, AsyncZeroconf

from thingroom_gateway.config import CoapConfig, MqttConfig
from thingroom_gateway.links.mdns import Advertiser, Service, own_addresses, reachable, services

LOOPBACK = ("127.0.0.1",)
OWN = ("192.0.2.2", "198.51.100.7")
FIND = Path(__file__).parent.parent / "node" / "on_board" / "mdns_find.py"


@pytest.fixture
async def advertiser() -> AsyncIterator[Advertiser]:
    found = [Service("mqtt", ("192.0.2.2",), 8883, tls=True), Service("coap", OWN, 5683)]
    made = Advertiser("At home with a quite long name, löng enough to be cut at its end", found, LOOPBACK)
    assert await made.open()
    yield made
    await made.close()


async def test_a_node_and_a_browser_find_what_is_advertised(advertiser: Advertiser) -> None:
    kind = "_thingroom._tcp.local."
    name = f"At home with a quite long name, löng enough to be cut at its e.{kind}"
    browser = AsyncZeroconf(interfaces=list(LOOPBACK), ip_version=IPVersion.V4Only)
    info = AsyncServiceInfo(kind, name)
    assert await info.async_request(browser.zeroconf, 30_000)
    assert info.port == 8883 and info.parsed_addresses() == ["192.0.2.2"]
    assert info.properties == {b"v": b"1", b"tls": b"1"}
    await browser.async_close()
    # Of several addresses the node takes the one that comes first, which is as it happens.
    for protocol, expected in (("_tcp", ["192.0.2.2 8883"]), ("_udp", [f"{address} 5683" for address in OWN])):
        # Whoever else answers mDNS on this machine may get the question instead, which is not multicast here.
        for _ in tries():
            argv, environment = command(FIND, "127.0.0.1", "5353", "auto", protocol)
            process = await asyncio.create_subprocess_exec(*argv, env=environment, stdout=asyncio.subprocess.PIPE)
            output, _ = await process.communicate()
            if (found := output.decode().strip()) in expected:
                break
        assert found in expected


async def test_only_what_others_reach_is_advertised() -> None:
    assert await services(MqttConfig(), CoapConfig(), OWN) == []
    both = await services(MqttConfig(host="0.0.0.0", port=1884), CoapConfig(host="::", port=5684), OWN)
    assert both == [Service("mqtt", OWN, 1884), Service("coap", OWN, 5684)]
    elsewhere = await services(MqttConfig(host="203.0.113.9", port=8883, tls=True), CoapConfig(enabled=False), OWN)
    assert elsewhere == [Service("mqtt", ("203.0.113.9",), 8883, tls=True)]
    assert await reachable("localhost", OWN) == ()
    assert not {"127.0.0.1"} & set(own_addresses())


async def test_nothing_to_say_is_no_failure() -> None:
    advertiser = Advertiser("Home", [], OWN)
    assert not await advertiser.open()
    await advertiser.close()
