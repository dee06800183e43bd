"""Whether the old download paths, which ask for no token, serve files.

Pure. See docs/decisions/0016-legacy-media-on-private-networks.md.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable


def serves_legacy(switch: str, hosts: Iterable[str], *, behind_proxy: bool, public_host: str | None) -> bool:
    """`switch` is "on", "off" or "auto"; `hosts` are those of the listeners, without ports.

    `behind_proxy`: the configuration says so. `public_host`: the host of the published base URL, if there is one.
    """
    if switch != "auto":
        return switch == "on"
    if behind_proxy or (public_host is not None and not is_private_host(public_host)):
        return False
    return all(map(is_private_host, hosts))


def is_private_host(host: str) -> bool:
    """Whether `host` is localhost, or an address that the internet does not route to; other names count as public."""
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or (address.is_private and not address.is_unspecified)
