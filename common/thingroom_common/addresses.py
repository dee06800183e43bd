"""Addresses to listen at, as the configuration writes them.

May import the standard library and config_file's ConfigError.
"""

from __future__ import annotations

import ipaddress
import re

from thingroom_common.config_file import ConfigError

_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\s:\[\]]+):([0-9]{1,5})")


def host_and_port(address: str, key: str) -> tuple[str, int]:
    """("127.0.0.1", 8008) from "127.0.0.1:8008", ("::1", 80) from "[::1]:80". Raises ConfigError that names `key`."""
    match = _HOST_AND_PORT.fullmatch(address)
    if match is None or int(match[2]) > 65_535:
        raise ConfigError(f'{key}: "{address}" is not "host:port".')
    return match[1].strip("[]"), int(match[2])


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_metrics_listener(address: str, beyond_loopback: bool) -> None:
    """Refuse to show /metrics to others unless that is meant; empty: it is shown to nobody. Raises ConfigError."""
    if not address:
        return
    host, _ = host_and_port(address, "metrics_listener")
    if not (beyond_loopback or is_loopback(host)):
        raise ConfigError(
            f'metrics_listener: "{address}" is not on loopback, and /metrics asks for no password;'
            " set metrics_beyond_loopback = true if only those who may read it can reach it."
        )
