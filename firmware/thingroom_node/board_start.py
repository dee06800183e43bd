"""Puts a node together on a real board, out of /node.json (the owner's settings) and /board.json (buses and pins).

board_main.py calls this and forgets it then; composition.py does the work: read it next.
"""

import json

from thingroom_node import board, composition
from thingroom_node.console import emit
from thingroom_node.errors import SettingsError
from thingroom_node.settings import parse_settings

SETTINGS = "/node.json"
BOARD = "/board.json"
MAX_SETTINGS = 4096


class OnBoard:
    """The platform that composition.py asks. `config` is what board.json holds."""

    host_time = None

    def __init__(self, config):
        self.hardware = board.open_hardware(config)
        self.eui64 = board.eui64
        self.feeder = board.watchdog
        self.light = self.hardware.led

    def make_private(self, directory):
        """A board's files have no owner."""

    def port_opener(self, settings):
        """The function that a serial link opens its line with: the UART of the settings, or the USB cable."""
        from thingroom_node.links import uart_port

        if settings.uart is None:
            return uart_port.usb_opener()
        return uart_port.uart_opener(self.hardware.line(settings.uart, settings.baud))

    def wifi(self, settings):
        """The networks of the settings."""
        return board.open_wifi(settings.wifi)


def _read(path):
    try:
        with open(path) as file:
            return file.read(MAX_SETTINGS)
    except OSError:
        raise SettingsError(path + " is missing.")


def make_runner():
    """The Runner of what the two files say. Raises SettingsError, StorageError, OSError."""
    try:
        config = json.loads(_read(BOARD))
    except ValueError:
        raise SettingsError("board.json is not valid JSON.")
    settings = parse_settings(_read(SETTINGS))
    return composition.make_runner(settings, emit, OnBoard(config))
