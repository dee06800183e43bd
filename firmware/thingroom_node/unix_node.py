"""The node on MicroPython's unix port: no pins, the host's files, clock and serial lines.

Being killed is the normal way to stop. unix_main.py is the file to run, and forgets this module once the node is put
together; composition.py does that: read it next.
"""

import os
import sys

from thingroom_node import board, composition, durable
from thingroom_node.console import emit
from thingroom_node.errors import SettingsError
from thingroom_node.settings import parse_settings

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
    return composition.make_runner(settings, emit, Host(hardware))


def start(arguments):
    """The Runner of the settings that `arguments` name, or None after saying why not."""
    if len(arguments) != 2:
        print("usage: unix_main.py NODE.JSON", file=sys.stderr)
        return None
    try:
        with open(arguments[1]) as file:
            settings = parse_settings(file.read(MAX_SETTINGS))
        return make_runner(settings, emit)
    except (SettingsError, durable.StorageError, OSError) as error:
        print("{}: {}".format(arguments[1], error), file=sys.stderr)
        return None
