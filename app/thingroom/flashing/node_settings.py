"""node.json, the owner's word to the node, made of what flags, files and questions have told. Pure.

The firmware's own parser has the last word: what it would refuse on the board is refused here. May import
thingroom_node (settings, equipment) and trouble. Wi-Fi passwords are in it: it goes onto the board and nowhere else.
"""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, field
from typing import Any

from thingroom.flashing.trouble import FlashError
from thingroom_node.equipment import SENSORS
from thingroom_node.settings import SettingsError, parse_settings

# Drivers whose profile has another name.
_PROFILES = {"tmp105": "lm75", "contact": "door", "simulated": "climate"}
SIMULATED = "simulated"


@dataclass(frozen=True)
class Network:
    """A Wi-Fi network; its password is not shown when it is printed."""

    ssid: str
    password: str = field(repr=False, default="")


@dataclass(frozen=True)
class GatewayAddress:
    """How a node reaches the gateway: `host` is "" over a serial line, `port` 0 means the link's usual one."""

    link: str
    host: str = ""
    port: int = 0


@dataclass(frozen=True)
class GatewayKeys:
    """The gateway's public keys, in hex."""

    key: str
    agreement_key: str


def sensor_entry(text: str) -> dict[str, Any]:
    """`ds18b20:pin=15,names=...` as an entry of `sensors`; values are JSON where they can be. Raises FlashError."""
    driver, _, rest = text.partition(":")
    if driver != SIMULATED and driver not in SENSORS:
        raise FlashError(f"There is no sensor {driver!r}; there are {', '.join(sorted(SENSORS))}, {SIMULATED}.")
    entry: dict[str, Any] = {"driver": driver}
    for option in filter(None, rest.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise FlashError(f"{text!r}: an option is written KEY=VALUE, as in ds18b20:pin=15.")
        try:
            entry[key] = json.loads(value)
        except ValueError:
            entry[key] = value
    return entry


def usual_profile(sensors: list[dict[str, Any]]) -> str:
    """The profile that suits the first sensor; "" without one."""
    driver = str(sensors[0]["driver"]) if sensors else ""
    return _PROFILES.get(driver, driver)


def read_networks(text: str, name: str) -> list[Network]:
    """The [[networks]] of a TOML file, each with ssid and password. Raises FlashError."""
    try:
        entries = tomllib.loads(text)["networks"]
        networks = [Network(entry["ssid"], entry.get("password", "")) for entry in entries]
    except (tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError):
        raise FlashError(
            f'{name} should have, for each network:\n\n[[networks]]\nssid = "Home"\npassword = "..."'
        ) from None
    for network in networks:
        check_network(network)
    return networks


def check_network(network: Network) -> None:
    """Raises FlashError where no access point could be called or protected like that (IEEE 802.11)."""
    if not isinstance(network.ssid, str) or not 1 <= len(network.ssid.encode()) <= 32:
        raise FlashError("A Wi-Fi network's name has 1 to 32 bytes.")
    if not isinstance(network.password, str) or (network.password and not 8 <= len(network.password.encode()) <= 64):
        raise FlashError(
            f"The password of the Wi-Fi network {network.ssid} must have 8 to 63 characters, or none at all."
        )


def node_json(
    *,
    name: str,
    profile: str,
    sensors: list[dict[str, Any]],
    address: GatewayAddress,
    networks: list[Network],
    keys: GatewayKeys | None,
    pairing_code: str,
    others: dict[str, Any],
) -> bytes:
    """The file. `others` are the owner's own settings, which go before ours. Raises FlashError."""
    settings: dict[str, Any] = {"name": name, "profile": profile, "link": address.link}
    if address.host:
        settings["host"] = address.host
    if address.port:
        settings["port"] = address.port
    if [entry["driver"] for entry in sensors] == [SIMULATED]:
        settings["sensor"] = {"kind": SIMULATED, **{key: value for key, value in sensors[0].items() if key != "driver"}}
    elif sensors:
        settings["sensors"] = sensors
    if networks:
        settings["wifi"] = [{"ssid": one.ssid, "password": one.password} for one in networks]
    if keys is not None:
        settings["gateway"] = {"key": keys.key, "agreement_key": keys.agreement_key}
    if pairing_code:
        settings["pairing_code"] = pairing_code
    settings.update(others)
    text = json.dumps(settings, separators=(",", ":"), ensure_ascii=False)
    try:
        parse_settings(text)
    except SettingsError as error:
        raise FlashError(f"The board would not take these settings. {error}") from None
    if len(text.encode()) > 4000:
        raise FlashError("The settings are too long for the board: 4000 bytes at most.")
    return text.encode()
