"""Says by multicast DNS where devices reach this gateway (RFC 6762, RFC 6763): _thingroom._tcp for MQTT, ._udp for CoAP.

Only what listens beyond this machine is advertised. Advertising is a help and never a reason not to run: what fails is
logged. May import zeroconf, psutil, config. app.py opens and closes it; a node's part is thingroom_node/links/mdns.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

import psutil
from zeroconf import Error, IPVersion, ServiceInfo
from zeroconf.asyncio import AsyncZeroconf

from thingroom_gateway.config import CoapConfig, MqttConfig

logger = logging.getLogger(__name__)

# RFC 1035, 2.3.4.
MAX_LABEL_BYTES = 63
TYPES = {"mqtt": "_thingroom._tcp.local.", "coap": "_thingroom._udp.local."}


@dataclass(frozen=True)
class Service:
    """One thing to advertise: `link` is "mqtt" or "coap", `addresses` are IPv4 and reach it."""

    link: str
    addresses: tuple[str, ...]
    port: int
    tls: bool = False


def own_addresses() -> tuple[str, ...]:
    """The IPv4 addresses of this machine that others may reach."""
    found = (entry for entries in psutil.net_if_addrs().values() for entry in entries)
    return tuple(
        entry.address
        for entry in found
        if entry.family == socket.AF_INET and not IPv4Address(entry.address).is_loopback
    )


async def reachable(host: str, own: tuple[str, ...]) -> tuple[str, ...]:
    """The IPv4 addresses beyond this machine behind `host`, where something listens; empty: there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, None, family=socket.AF_INET)
    except OSError:
        # The wildcard of IPv6 takes IPv4 as well.
        return own if host in ("", "::") else ()
    addresses = dict.fromkeys(str(entry[4][0]) for entry in found)
    if any(ip_address(address).is_unspecified for address in addresses):
        return own
    return tuple(address for address in addresses if not ip_address(address).is_loopback)


async def services(mqtt: MqttConfig, coap: CoapConfig, own: tuple[str, ...]) -> list[Service]:
    """What there is to advertise; a link that only this machine reaches is left out, and the log says so."""
    found = []
    for link, config, tls in (("mqtt", mqtt, mqtt.tls), ("coap", coap, False)):
        if not config.enabled:
            continue
        addresses = await reachable(config.host, own)
        if addresses:
            found.append(Service(link, addresses, config.port, tls))
        else:
            logger.info("mDNS: %s is not advertised, only this machine reaches %s", link, config.host)
    return found


class Advertiser:
    """Answers for `services` under the instance name `name`, on `interfaces` (addresses of this machine)."""

    def __init__(self, name: str, services: list[Service], interfaces: tuple[str, ...]) -> None:
        self._name = name.encode()[:MAX_LABEL_BYTES].decode(errors="ignore")
        self._services = services
        self._interfaces = interfaces
        self._zeroconf: AsyncZeroconf | None = None

    async def open(self) -> bool:
        """Begin to answer. Returns whether there is anything to say and it could be said."""
        if not self._services or not self._interfaces:
            logger.warning("mDNS: nothing is advertised, for nothing listens beyond this machine")
            return False
        server = f"{socket.gethostname().partition('.')[0]}-thingroom.local."
        try:
            self._zeroconf = AsyncZeroconf(interfaces=list(self._interfaces), ip_version=IPVersion.V4Only)
            for service in self._services:
                kind = TYPES[service.link]
                properties = {"v": "1", "tls": "1"} if service.tls else {"v": "1"}
                info = ServiceInfo(
                    kind,
                    f"{self._name}.{kind}",
                    parsed_addresses=list(service.addresses),
                    port=service.port,
                    server=server.replace("-thingroom", f"-thingroom-{service.link}"),
                    properties=properties,
                )
                await (await self._zeroconf.async_register_service(info, allow_name_change=True))
                logger.info("mDNS: %s is at %s port %d", info.name, ", ".join(service.addresses), service.port)
        except (OSError, Error) as error:
            logger.warning("mDNS: nothing is advertised: %s", error)
            await self.close()
            return False
        return True

    async def close(self) -> None:
        """Take it back and end; also what was never opened."""
        if self._zeroconf is not None:
            await self._zeroconf.async_close()
            self._zeroconf = None
