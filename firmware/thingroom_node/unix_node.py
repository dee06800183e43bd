"""The node on MicroPython's unix port: no pins, the host's files, clock and serial lines.

Prints one JSON object a line for every event. Being killed is the normal way to stop. unix_main.py is the file to run;
composition.py puts the node together: read it next.
"""

import asyncio
import gc
import json
import os
import sys
import time

from thingroom_node import board, composition, durable, memory
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_wire import ed25519

MAX_SETTINGS = 4096


def emit(event):
    """Print an event as one line of JSON."""
    print(json.dumps(event))


class Host:
    """The platform that composition.py asks; `hardware` is a Hardware where a test has pins."""

    def __init__(self, hardware=None):
        self.hardware = hardware
        self.eui64 = board.eui64

    def host_time(self):
        """Unix time in milliseconds, of the operating system."""
        return time.time_ns() // 1_000_000

    def make_private(self, directory):
        """For the owner's eyes only: MicroPython's files have no mode argument."""
        # The path is quoted, and it is the owner's own setting.
        os.system("chmod 700 -- '" + directory.replace("'", "'\\''") + "'")  # noqa: S605

    def port_opener(self, settings):
        """The function that a serial link opens its line with: `host` is the line's path."""
        from thingroom_node.links.serial_port import SerialPort

        path, baud = settings.host, settings.baud

        def open_port():
            return SerialPort(path, baud)

        return open_port

    def wifi(self, settings):
        """The host's network is there."""
        return

    def feeder(self):
        """No watchdog."""
        return

    def light(self):
        """No light."""
        return


def make_runner(settings, emit, hardware=None):
    """Open everything and put the node together. Raises StorageError, SettingsError, OSError."""
    return composition.make_runner(settings, emit, Host(hardware))


def main(arguments):
    """Run the node. Returns the exit status, when there is one."""
    if len(arguments) != 2:
        print("usage: unix_main.py NODE.JSON", file=sys.stderr)
        return 2
    return run(arguments[1])


def start(path):
    """Run the node of a slot (firmware/flash/main.py) with the settings in the file `path`; as `main`."""
    gc.threshold(16_384)
    ed25519.prepare()
    return run(path)


def run(path):
    """Run the node with the settings in the file `path`. Returns the exit status, when there is one."""
    try:
        with open(path) as file:
            settings = parse_settings(file.read(MAX_SETTINGS))
        runner = make_runner(settings, emit)
        memory.unload("thingroom_node.composition", "thingroom_node.settings", "thingroom_node.equipment")
        gc.collect()
    except (SettingsError, durable.StorageError, OSError) as error:
        print("{}: {}".format(path, error), file=sys.stderr)
        return 2
    # From here on nothing is compiled any more.
    gc.threshold(-1)
    asyncio.run(runner.run())
    return 1
