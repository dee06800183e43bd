"""The node on a real board, and on the emulated one: `main()` is what the board's own main.py calls.

Reads /node.json (the owner's settings) and /board.json (buses and pins), opens them, runs for ever, and prints one JSON
object a line for every event. What cannot be helped by a restart (settings, damaged files) is said again and again;
anything else ends in a reset. composition.py puts the node together: read it next.
"""

import asyncio
import gc
import json
import sys

from thingroom_node import board, composition, durable, memory
from thingroom_node.settings import SettingsError, parse_settings
from thingroom_wire import ed25519

SETTINGS = "/node.json"
BOARD = "/board.json"
MAX_SETTINGS = 4096
NEEDED_AT_START = tuple(
    "thingroom_" + name for name in ("node.composition", "node.settings", "node.equipment", "wire.sha512_portable")
)
# Long enough to be read on a console, and for an owner to send better settings.
PAUSE_MS = 30_000


def emit(event):
    """Print an event as one line of JSON."""
    print(json.dumps(event))


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
        uart = self.hardware.line(settings.uart, settings.baud)

        def open_port():
            return uart_port.UartPort(uart)

        return open_port

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


def main():
    """Run the node; does not return."""
    try:
        gc.threshold(8192)
        ed25519.prepare()
        runner = make_runner()
        memory.unload(*NEEDED_AT_START)
        gc.collect()
        gc.threshold(-1)
        asyncio.run(runner.run())
    except (SettingsError, durable.StorageError) as error:
        emit({"event": "stopped", "reason": str(error)})
        board.pause(PAUSE_MS)
    except Exception as error:
        sys.print_exception(error)
        board.pause(1000)
    board.reset()
