"""The one file that imports `network`: what differs from board to board and is no sensor.

On the unix port there is no such module, and the functions answer for a machine without a radio of its own.
Everything else of the firmware is handed what it needs.
"""

try:
    import network
except ImportError:
    network = None

from thingroom_wire import keys


def eui64(key_id):
    """The board's EUI-64: from its Wi-Fi MAC, or from `key_id` (8 bytes) where it has none."""
    if network is None:
        return keys.eui64_from_key_id(key_id)
    return keys.eui64_from_mac(network.WLAN(network.STA_IF).config("mac"))
