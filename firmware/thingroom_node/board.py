"""The one file that imports `machine` and `network`: what differs from board to board and is no sensor.

On the unix port there is no radio and there are no pins. Everything else of the firmware is handed what it needs:
hardware.py makes buses and pins out of the `machine` that it is given here.
"""

try:
    import network
except ImportError:
    network = None
try:
    import machine
except ImportError:
    machine = None

from thingroom_wire import keys

# What a program on a host ends with that wants to be started again.
RESTART = 75


def eui64(key_id):
    """The board's EUI-64: from its Wi-Fi MAC, or from `key_id` (8 bytes) where it has none."""
    if network is None:
        return keys.eui64_from_key_id(key_id)
    return keys.eui64_from_mac(network.WLAN(network.STA_IF).config("mac"))


def open_hardware(config):
    """The Hardware that this program runs on. `config` is what board.json holds."""
    from thingroom_node.hardware import Hardware

    return Hardware(config, machine, __import__)


def host_time():
    """Unix time in milliseconds where an operating system keeps it."""
    import time

    return time.time_ns() // 1_000_000


def watchdog():
    """A function that feeds the chip's watchdog, which runs from now on; None where there is none."""
    if not hasattr(machine, "WDT"):
        return None
    # RP2040 and RP2350 count no further than 8388 ms.
    return machine.WDT(timeout=8000).feed


def open_wifi(networks):
    """The Wi-Fi with the `networks` of the settings: an object with `async connect()`. None without a radio."""
    if network is None:
        return None
    from thingroom_node.wifi import Wifi

    return Wifi(network, networks)


def pause(milliseconds):
    """Wait, without asyncio."""
    import time

    time.sleep_ms(milliseconds)


def reset():
    """Start again, as after a loss of power; on a host the program ends, and whoever started it starts it again."""
    if hasattr(machine, "reset"):
        machine.reset()
    import sys

    sys.exit(RESTART)
