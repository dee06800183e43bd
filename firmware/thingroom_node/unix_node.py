"""The node on MicroPython's unix port: no pins, the host's files, clock and serial lines.

Being killed is the normal way to stop. unix_main.py is the file to run; composition.py puts the node together:
read it next.
"""

import asyncio
import gc
import os
import sys

from thingroom_node import board, durable, memory
from thingroom_node.console import emit
from thingroom_node.errors import SettingsError

MAX_SETTINGS = 4096


class Host:
    """The platform that composition.py asks; `hardware` is a Hardware where a test has pins."""

    def __init__(self, hardware=None):
        self.hardware = hardware
        self.eui64 = board.eui64
        self.host_time = board.host_time

    def make_private(self, directory):
        """For the owner's eyes only: MicroPython's files have no mode argument."""
        # The path is quoted, and it is the owner's own setting.
        os.system("chmod 700 -- '" + directory.replace("'", "'\\''") + "'")  # noqa: S605

    def port_opener(self, settings):
        """The function that a serial link opens its line with: `host` is the line's path."""
        from thingroom_node.links.serial_port import opener

        return opener(settings.host, settings.baud)

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
    from thingroom_node import composition

    return composition.make_runner(settings, emit, Host(hardware))


def start(path):
    """Run the node of the settings at `path`. Returns the exit status, when there is one."""
    try:
        runner = make_runner(_settings(path), emit)
    except (SettingsError, durable.StorageError, OSError) as error:
        print("{}: {}".format(path, error), file=sys.stderr)
        return 2
    memory.unload(*memory.FOR_THE_START)
    gc.collect()
    # From here on nothing is compiled any more.
    gc.threshold(-1)
    asyncio.run(runner.run())
    return 1


def _settings(path):
    from thingroom_node.settings import parse_settings

    with open(path) as file:
        return parse_settings(file.read(MAX_SETTINGS))
