"""The gateway's part in flashing: where boards reach it, which profiles there are, and enrolment by key.

Reads the gateway's configuration and speaks to the running one over its control socket. May import thingroom_gateway.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thingroom.flashing.node_settings import GatewayAddress, GatewayKeys
from thingroom.flashing.trouble import FlashError
from thingroom_common.config_file import ConfigError
from thingroom_gateway.config import GatewayConfig, load
from thingroom_gateway.control import ask
from thingroom_gateway.profiles import ProfileError, load_profiles

# A device as the gateway's command `devices` describes it.
Known = Mapping[str, Any]
NOT_RUNNING = (
    "No gateway runs here. Start it (`thingroom run`) and say the same again; or flash now and enrol later, with --host"
    " and --pairing-code, or with --no-enrol."
)


@dataclass(frozen=True)
class Enrolled:
    """What the gateway calls the device now; `kid` is its key id in hex."""

    kid: str
    name: str
    fresh: bool
    keys: GatewayKeys


def load_gateway(path: Path) -> GatewayConfig:
    """The configuration of the gateway on this machine. Raises FlashError."""
    if not path.exists():
        raise FlashError(f"There is no gateway's configuration ({path}). {NOT_RUNNING} A file elsewhere: --config.")
    try:
        return load(path)
    except ConfigError as error:
        raise FlashError(str(error)) from None


def profile_names(config: GatewayConfig | None) -> list[str]:
    """The profiles that a device can have. Raises FlashError."""
    own = Path(config.profile_directory) if config is not None and config.profile_directory else None
    try:
        return sorted(load_profiles(own=own))
    except ProfileError as error:
        raise FlashError(str(error)) from None


def address_for(config: GatewayConfig, link: str, is_here: bool) -> GatewayAddress:
    """Where a board finds the gateway over `link`. `is_here`: the board is a program on this machine. FlashError."""
    if link == "serial":
        return GatewayAddress("serial")
    part = config.mqtt if link == "mqtt" else config.coap
    if not part.enabled:
        raise FlashError(
            f"The gateway takes nothing over {link}: set enabled in [gateway.{link}], or say another --link."
        )
    host = part.host
    if is_here:
        return GatewayAddress(link, "127.0.0.1" if _kind(host) == "any" else host, part.port)
    if _kind(host) == "loopback":
        key = "broker_host in [run]" if link == "mqtt" else "host in [gateway.coap]"
        raise FlashError(
            f"The gateway listens for {link} on this machine only ({host}), so no board reaches it. Set {key} of"
            " thingroom.toml to this machine's address and start it again; or say where it is with --host."
        )
    return GatewayAddress(link, own_address() if _kind(host) == "any" else host, part.port)


def own_address() -> str:
    """This machine's address towards its network. Raises FlashError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Connecting UDP sends nothing; it chooses the address that would be used. 192.0.2.1 is nobody (RFC 5737).
            probe.connect(("192.0.2.1", 9))
            address: str = probe.getsockname()[0]
        except OSError:
            raise FlashError("This machine is in no network. Say with --host where boards find the gateway.") from None
    return address


def running_devices(config: GatewayConfig) -> dict[str, Known]:
    """The gateway's devices by key id; {} where none runs."""
    try:
        answer = ask(config.directory, {"command": "devices"})
    except OSError:
        return {}
    return {one["device"]: one for one in answer.get("devices", [])}


def check_running(config: GatewayConfig) -> None:
    """Raises FlashError where no gateway answers: before anything is written, not after."""
    try:
        ask(config.directory, {"command": "devices"})
    except OSError:
        raise FlashError(NOT_RUNNING) from None


def enrol(config: GatewayConfig, key: str, agreement_key: str, name: str, place: str, profile: str) -> Enrolled:
    """Make the device known by its public keys (hex). Raises FlashError."""
    command = {
        "command": "enrol",
        "device_key": key,
        "agreement_key": agreement_key,
        "name": name,
        "place": place,
        "profile": profile,
    }
    try:
        answer = ask(config.directory, command)
    except OSError:
        raise FlashError(f"{NOT_RUNNING} The board keeps what it has got.") from None
    if not answer.get("ok"):
        raise FlashError(f"The gateway did not take the board: {answer.get('error')}. The board keeps what it has got.")
    keys = GatewayKeys(answer["gateway_key"], answer["gateway_agreement_key"])
    return Enrolled(answer["device"], answer["name"], answer["fresh"], keys)


def _kind(host: str) -> str:
    """any, loopback or other."""
    if host == "localhost":
        return "loopback"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "other"
    return "any" if address.is_unspecified else "loopback" if address.is_loopback else "other"
